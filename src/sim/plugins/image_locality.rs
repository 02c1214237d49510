//! ImageLocality: bytes of the pod's images that a node has, each image counted by the share of nodes
//! that have it, so that not all pods of an app herd onto the first node.

use super::MAX_NODE_SCORE;

const MB: i64 = 1 << 20;
/// `minThreshold`: below it a node is worth nothing.
const MIN_BYTES: i64 = 23 * MB;
/// `maxContainerThreshold`: above it, for each container, a node is worth no more.
const MAX_CONTAINER_BYTES: i64 = 1000 * MB;

/// An image that a node has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Image {
    /// Its size in bytes.
    pub bytes: i64,
    /// How many nodes have it.
    pub num_nodes: usize,
}

/// The score of a node that has these of the pod's images, in a cluster of `num_nodes`; a pod has at
/// least one container.
pub fn score(present: impl Iterator<Item = Image>, num_containers: usize, num_nodes: usize) -> i64 {
    let scaled = present.map(|image| {
        let spread = image.num_nodes as f64 / num_nodes as f64;
        (image.bytes as f64 * spread) as i64
    });
    let most = MAX_CONTAINER_BYTES * num_containers.max(1) as i64;
    let sum = scaled.sum::<i64>().clamp(MIN_BYTES, most);
    MAX_NODE_SCORE * (sum - MIN_BYTES) / (most - MIN_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_counts_by_its_size_and_by_who_has_it() {
        let one =
            |mb: i64, num_nodes| score([Image { bytes: mb * MB, num_nodes }].into_iter(), 1, 100);
        // 23 MB on average is the threshold, 1,000 MB the most.
        assert_eq!([one(23, 100), one(230, 10), one(1000, 2)], [0, 0, 0]);
        assert_eq!([one(500, 50), one(1000, 50), one(4000, 100)], [23, 48, 100]);
        let both = [Image { bytes: 500 * MB, num_nodes: 50 }; 2];
        // (500 − 23) ÷ (2000 − 23)
        assert_eq!(score(both.into_iter(), 2, 100), 24);
    }
}
