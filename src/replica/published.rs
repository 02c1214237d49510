//! What the writing half hands to the deciding half.

use std::sync::Arc;

use super::writing::{ListedKinds, Publication};
use crate::cluster::Confirmed;
use crate::engine::{Decider, View};
use crate::model::{Kind, Now};

/// The newest view, and the facts that publications have confirmed since the decider learned of them last.
pub struct Published {
    view: Arc<View>,
    confirmed: Vec<Confirmed>,
    listed: ListedKinds,
}

impl Published {
    /// What a writing half shows first.
    pub(super) fn new(first: Publication) -> Self {
        let Publication { view, confirmed, listed } = first;
        Self { view, confirmed, listed }
    }

    /// Shows a publication. Returns the view before it: to free that view takes time, so a caller with a lock drops
    /// it after the lock.
    pub fn put(&mut self, publication: Publication) -> Arc<View> {
        self.confirmed.extend(publication.confirmed);
        self.listed = publication.listed;
        std::mem::replace(&mut self.view, publication.view)
    }

    /// The newest view, for readers that decide nothing.
    pub fn view(&self) -> Arc<View> {
        self.view.clone()
    }

    /// True if the view contains a complete list of this kind.
    pub fn is_listed(&self, kind: Kind) -> bool {
        self.listed.has(kind)
    }

    /// True if the view contains complete lists of all kinds that decisions need.
    pub fn is_synced(&self) -> bool {
        self.listed.has_required()
    }

    /// The newest view with the facts that the decider does not know yet.
    pub fn take(&mut self) -> Handover {
        Handover { view: self.view.clone(), confirmed: std::mem::take(&mut self.confirmed) }
    }
}

/// A view on its way to a decider.
#[must_use = "confirmed facts that are not delivered are lost"]
pub struct Handover {
    view: Arc<View>,
    confirmed: Vec<Confirmed>,
}

impl Handover {
    /// Tells the decider the confirmed facts. Returns the view to decide on at this moment.
    pub fn deliver(self, decider: &mut Decider, now: Now) -> View {
        self.confirmed.into_iter().for_each(|it| decider.confirm(it));
        View { now, ..View::clone(&self.view) }
    }
}
