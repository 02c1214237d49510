//! Container images, by their names.

use std::borrow::Cow;
use std::hash::Hasher;

use rustc_hash::FxHasher;

/// A name of an image, such as `reg.example:5000/web:1` or `web@sha256:…`. Kept as a hash: names are
/// only ever compared, and a node has a hundred of a hundred bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageName(pub u64);

impl ImageName {
    /// Of the text that a pod or a node has.
    pub fn of(text: &str) -> Self {
        let mut hasher = FxHasher::default();
        hasher.write(normalized(text).as_bytes());
        Self(hasher.finish())
    }
}

/// kube-scheduler's `normalizedImageName`: a name without a tag is that of the tag `latest`.
pub fn normalized(name: &str) -> Cow<'_, str> {
    // None is below any place.
    if name.rfind(':') <= name.rfind('/') { format!("{name}:latest").into() } else { name.into() }
}

/// An image that a node has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeImage {
    /// Its names: mostly one with a tag and one with a digest.
    pub names: Box<[ImageName]>,
    /// Its size.
    pub bytes: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_a_tag_is_that_of_the_latest_and_a_port_is_no_tag() {
        for (name, want) in [
            ("nginx", "nginx:latest"),
            ("nginx:1", "nginx:1"),
            ("reg:5000/nginx", "reg:5000/nginx:latest"),
            ("reg:5000/nginx:1", "reg:5000/nginx:1"),
            ("nginx@sha256:0", "nginx@sha256:0"),
        ] {
            assert_eq!(normalized(name), want);
            assert_eq!(ImageName::of(name), ImageName::of(want));
        }
        assert_ne!(ImageName::of("nginx:1"), ImageName::of("nginx:2"));
    }
}
