//! Which nodes have which images, as their kubelets report them.

use std::sync::Arc;

use super::cow::{Paged, Sharded};
use super::node_set::NodeSet;
use crate::model::{ImageName, NodeImage, NodeOrd};

/// Most distinct images. What comes later is as if no node had it: a cluster that builds images all
/// day must not fill our memory with them.
const MAX_IMAGES: usize = u16::MAX as usize;

/// Index of an image; used again when no node has it any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct ImageOrd(u16);

/// An image, and the nodes that have it.
#[derive(Clone, Debug, Default)]
pub struct ImageRow {
    /// The image.
    pub image: NodeImage,
    /// Who has it.
    pub nodes: NodeSet,
}

/// The images of all nodes.
#[derive(Clone, Debug, Default)]
pub struct Images {
    /// By [`ImageOrd`]; one without nodes is free.
    rows: Paged<Arc<ImageRow>>,
    free: Arc<Vec<ImageOrd>>,
    /// A tag that was moved stands for several images.
    by_name: Sharded<Arc<[ImageOrd]>>,
    /// What each node has, ascending.
    on_node: Paged<Arc<[ImageOrd]>>,
}

impl Images {
    /// The images that go by a name.
    pub fn named(&self, name: ImageName) -> impl Iterator<Item = &ImageRow> {
        self.ords(name).iter().filter_map(|ord| self.row(*ord))
    }

    /// Takes over what a node has; false when it had just that before.
    pub(super) fn set(&mut self, node: NodeOrd, images: &[NodeImage]) -> bool {
        let mut now: Vec<ImageOrd> = images.iter().filter_map(|it| self.intern(it)).collect();
        now.sort_unstable();
        now.dedup();
        while self.on_node.len() <= node.index() {
            self.on_node.grow();
        }
        let Some(slot) = self.on_node.get(node.index()).filter(|it| ***it != *now) else {
            return false;
        };
        let before = slot.clone();
        for ord in now.iter().filter(|it| before.binary_search(it).is_err()) {
            self.change(*ord, |nodes| nodes.insert(node));
        }
        for ord in before.iter().filter(|it| now.binary_search(it).is_err()) {
            self.change(*ord, |nodes| nodes.remove(node));
            self.drop_unused(*ord);
        }
        if let Some(slot) = self.on_node.get_mut(node.index()) {
            *slot = now.into();
        }
        true
    }

    /// How many images are not known to be on the nodes that have them.
    pub(super) fn differences(&self) -> usize {
        let want = self.recount();
        self.rows.iter().zip(&want).filter(|(row, want)| row.nodes != **want).count()
    }

    /// Takes over what each node has.
    pub(super) fn repair(&mut self) {
        for (at, nodes) in self.recount().into_iter().enumerate() {
            self.change(ImageOrd(at as u16), |it| *it = nodes);
        }
    }

    /// Forgets who has an image, as a bug of ours would.
    #[cfg(test)]
    pub(super) fn lose(&mut self, name: ImageName) {
        for ord in self.ords(name).to_vec() {
            self.change(ord, |nodes| *nodes = NodeSet::default());
        }
    }

    fn recount(&self) -> Vec<NodeSet> {
        let mut sets = vec![NodeSet::default(); self.rows.len()];
        for (at, ords) in self.on_node.iter().enumerate() {
            for ord in ords.iter() {
                if let Some(set) = sets.get_mut(usize::from(ord.0)) {
                    set.insert(NodeOrd(at as u32));
                }
            }
        }
        sets
    }

    fn ords(&self, name: ImageName) -> &[ImageOrd] {
        self.by_name.get(key(name)).map_or(&[], |ords| ords)
    }

    fn row(&self, ord: ImageOrd) -> Option<&ImageRow> {
        self.rows.get(usize::from(ord.0)).map(|row| &**row)
    }

    /// The ordinal of an image; `None` for one that nobody can ask for, or one too many.
    fn intern(&mut self, image: &NodeImage) -> Option<ImageOrd> {
        let of_name = self.ords(*image.names.first()?).iter();
        let mut known = of_name.filter(|ord| self.row(**ord).is_some_and(|it| it.image == *image));
        if let Some(known) = known.next() {
            return Some(*known);
        }
        let ord = match self.free.last() {
            Some(_) => Arc::make_mut(&mut self.free).pop()?,
            None if self.rows.len() < MAX_IMAGES => {
                self.rows.grow();
                ImageOrd((self.rows.len() - 1) as u16)
            }
            None => return None,
        };
        if let Some(row) = self.rows.get_mut(usize::from(ord.0)) {
            *row = Arc::new(ImageRow { image: image.clone(), nodes: NodeSet::default() });
        }
        for name in &image.names {
            let ords = self.ords(*name).iter().copied().chain([ord]).collect();
            self.by_name.insert(key(*name), ords);
        }
        Some(ord)
    }

    fn change(&mut self, ord: ImageOrd, change: impl FnOnce(&mut NodeSet)) {
        if let Some(row) = self.rows.get_mut(usize::from(ord.0)) {
            change(&mut Arc::make_mut(row).nodes);
        }
    }

    fn drop_unused(&mut self, ord: ImageOrd) {
        let Some(row) = self.row(ord).filter(|row| row.nodes.is_empty()) else {
            return;
        };
        for name in row.image.names.clone() {
            let ords = self.ords(name).iter().copied().filter(|it| *it != ord);
            let ords: Arc<[ImageOrd]> = ords.collect();
            match ords.is_empty() {
                true => self.by_name.remove(key(name)),
                false => self.by_name.insert(key(name), ords),
            };
        }
        Arc::make_mut(&mut self.free).push(ord);
    }
}

/// Shards go by the low bits and by the highest of 128.
fn key(name: ImageName) -> u128 {
    u128::from(name.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(names: &[&str], bytes: i64) -> NodeImage {
        NodeImage { names: names.iter().map(|it| ImageName::of(it)).collect(), bytes }
    }

    fn who(images: &Images, name: &str) -> Vec<(i64, Vec<u32>)> {
        let rows = images.named(ImageName::of(name));
        rows.map(|it| (it.image.bytes, it.nodes.iter().map(|ord| ord.0).collect())).collect()
    }

    #[test]
    fn images_are_found_by_each_name_while_a_node_has_them() {
        let web = image(&["web:1", "web@sha256:1"], 7);
        let moved = image(&["web:1", "web@sha256:2"], 8);
        let mut images = Images::default();
        assert!(images.set(NodeOrd(3), &[web.clone(), image(&["db:1"], 1), web.clone()]));
        assert!(images.set(NodeOrd(1), std::slice::from_ref(&web)));
        assert!(images.set(NodeOrd(2), &[moved.clone(), image(&[], 5)]));
        let published = images.clone();
        assert!(!images.set(NodeOrd(1), std::slice::from_ref(&web)), "as before");
        let both = [(7, vec![1, 3]), (8, vec![2])];
        assert_eq!(who(&images, "web:1"), both);
        assert_eq!(who(&images, "web@sha256:2"), [(8, vec![2])]);
        assert_eq!(who(&images, "web"), []);

        assert!(images.set(NodeOrd(3), &[moved]));
        assert!(images.set(NodeOrd(1), &[]));
        assert_eq!(who(&images, "web:1"), [(8, vec![2, 3])]);
        assert_eq!((who(&images, "web@sha256:1"), who(&images, "db:1")), (vec![], vec![]));
        assert_eq!(who(&published, "web:1"), both, "a snapshot stays what it was");

        let rows = images.rows.len();
        assert!(images.set(NodeOrd(9), &[image(&["a:1"], 1), image(&["b:1"], 2)]));
        assert_eq!((images.rows.len(), images.free.len()), (rows, 0), "ordinals are used again");
        assert_eq!(
            (who(&images, "a:1"), who(&images, "b:1")),
            (vec![(1, vec![9])], vec![(2, vec![9])])
        );
    }

    #[test]
    fn one_too_many_is_nowhere_and_takes_nothing_from_the_others() {
        let mut images = Images::default();
        let all: Vec<NodeImage> =
            (0..MAX_IMAGES as i64 + 3).map(|at| image(&[&format!("i:{at}")], at)).collect();
        assert!(images.set(NodeOrd(0), &all));
        assert_eq!(who(&images, &format!("i:{}", MAX_IMAGES - 1)).len(), 1);
        assert_eq!(who(&images, &format!("i:{MAX_IMAGES}")), []);
        assert!(images.set(NodeOrd(0), &all[1..]));
        assert_eq!(who(&images, &format!("i:{MAX_IMAGES}")), [], "its place was still taken");
        assert!(images.set(NodeOrd(1), &all[MAX_IMAGES..]));
        assert_eq!(who(&images, &format!("i:{MAX_IMAGES}")).len(), 1);
    }
}
