//! `docker_sd_configs` of a job of logs: the output of containers, through the engine's API.
//!
//! Reads no files: the API gives the output of every logging driver that can be read, needs the engine's socket and nothing
//! else, and knows which of both outputs a line came from.

mod follower;
mod frames;
mod place;
mod reader;

pub use reader::{DockerConfig, DockerReader};

/// See [`crate::fuzz`].
pub(crate) mod fuzz {
    use super::{frames::Frames, place::Place};

    /// The first byte says how large the pieces are in which the rest comes, and whether there is a terminal.
    pub(crate) fn frames(bytes: &[u8], longest: usize) {
        if let Ok(text) = std::str::from_utf8(bytes)
            && let Some(place) = Place::parse(text)
        {
            assert_eq!(Place::parse(&place.text()), Some(place), "a place does not read back");
        }
        let Some((first, bytes)) = bytes.split_first() else { return };
        let take = |piece: usize| {
            let (mut frames, mut out) = (Frames::new(first % 2 == 1), Vec::new());
            let well = bytes.chunks(piece).all(|part| frames.push(part, &mut out).is_ok());
            (out, well)
        };
        let whole = take(bytes.len().max(1));
        assert_eq!(whole, take(usize::from(*first / 2) + 1), "messages depend on pieces");
        assert!(whole.0.iter().all(|message| message.text.len() <= longest + 64), "a message is too long");
    }
}
