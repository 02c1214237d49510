//! Two kinds that only tests know. Their objects say one number.

use crate::model::{Fact, Kind};

/// A kind of a custom group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Widget(pub i64);

impl Fact for Widget {
    const KIND: Kind = Kind::of("test.sigma.io", "widgets");
}

/// Another kind of the group. Its name is not that of its resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gadget(pub i64);

impl Fact for Gadget {
    const KIND: Kind = Kind { name: "test-gadgets", ..Kind::of("test.sigma.io", "gadgets") };
}
