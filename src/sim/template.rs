//! A JSON text with holes, cut once and filled as often as one likes.

/// The pieces between holes.
#[derive(Clone, Debug)]
pub(super) struct TextTemplate<const HOLES: usize> {
    /// A piece, and the hole that follows it.
    pieces: Vec<(Box<str>, usize)>,
    tail: Box<str>,
}

impl<const HOLES: usize> TextTemplate<HOLES> {
    /// Cuts a JSON text, without its white space, at these holes.
    pub(super) fn new(json: &str, holes: [&str; HOLES]) -> Self {
        let value: serde_json::Value = serde_json::from_str(json).expect("a template is JSON");
        let text = value.to_string();
        let (mut pieces, mut rest) = (Vec::new(), text.as_str());
        let first = |rest: &str| {
            let found = holes.iter().enumerate();
            found.filter_map(|(hole, name)| Some((rest.find(name)?, hole))).min()
        };
        while let Some((at, hole)) = first(rest) {
            pieces.push((rest[..at].into(), hole));
            rest = &rest[at + holes[hole].len()..];
        }
        Self { pieces, tail: rest.into() }
    }

    /// Appends the text with its holes filled.
    pub(super) fn write(&self, out: &mut Vec<u8>, values: [&str; HOLES]) {
        for (piece, hole) in &self.pieces {
            out.extend_from_slice(piece.as_bytes());
            out.extend_from_slice(values[*hole].as_bytes());
        }
        out.extend_from_slice(self.tail.as_bytes());
    }
}
