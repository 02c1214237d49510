//! What pods are steered for, and how much: the bounds of a class.

use super::plan::Role;

/// Why a pod is sent to a node that was not offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cause {
    /// None of the offered nodes may take it, and another one may.
    Elsewhere,
    /// The best node of all leads the best that was offered.
    Better,
}

impl Cause {
    /// All of them, as [`Steering`] counts them.
    pub const ALL: [Self; 2] = [Self::Elsewhere, Self::Better];

    /// As policies, metrics and the admin API call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Elsewhere => "elsewhere",
            Self::Better => "better",
        }
    }

    /// The bounds of a class that switches it on and says no more.
    pub fn usual(self) -> Bounds {
        match self {
            Self::Elsewhere => Bounds { margin_permille: 0, per_second: 50, per_app: 100 },
            Self::Better => Bounds { margin_permille: 100, per_second: 5, per_app: 5 },
        }
    }
}

/// How much a class steers for one cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// By how much the target must lead, of the most points that a node can have.
    pub margin_permille: u32,
    /// Steers of the class that begin within a second.
    pub per_second: u32,
    /// Pods of one app on their way at the same time.
    pub per_app: u32,
}

/// What a class steers for. A cause without bounds is off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Steering {
    by_cause: [Option<Bounds>; Cause::ALL.len()],
}

impl Steering {
    /// No pod is steered.
    pub const OFF: Self = Self { by_cause: [None; Cause::ALL.len()] };

    /// What a class has of which the policy says nothing. `better` sends pods away that could have
    /// been placed at once, so that is for a policy to ask for; exempt pods are never held up.
    pub fn of_role(role: Role) -> Self {
        match role {
            Role::Exempt => Self::OFF,
            Role::Online | Role::Offline | Role::Default => {
                Self::OFF.with(Cause::Elsewhere, Some(Cause::Elsewhere.usual()))
            }
        }
    }

    /// The bounds of a cause; `None`: it is off.
    pub fn bounds(&self, cause: Cause) -> Option<Bounds> {
        self.by_cause[cause as usize]
    }

    /// The same with other bounds for one cause.
    #[must_use]
    pub fn with(mut self, cause: Cause, bounds: Option<Bounds>) -> Self {
        self.by_cause[cause as usize] = bounds;
        self
    }

    /// True when no cause is on.
    pub fn is_off(&self) -> bool {
        *self == Self::OFF
    }
}
