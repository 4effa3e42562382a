//! Doors for the fuzz targets: what they reach is not public otherwise.

use crate::{
    LONGEST_LINE,
    cloud::fuzz::{listing, notice},
    docker::fuzz::frames,
    lines::LineSplitter,
    push::fuzz::{json, message},
    syslog::fuzz::stream,
};

/// A TCP stream of syslog: framing does not depend on how the bytes come, no message is too long, both formats are read.
pub fn syslog(bytes: &[u8]) {
    stream(bytes);
}

/// A push request as protobuf: what is taken is not more than what came.
pub fn push_message(bytes: &[u8]) {
    message(bytes);
}

/// The same as JSON.
pub fn push_json(bytes: &[u8]) {
    json(bytes);
}

/// What buckets and queues say, and the lines of objects: the first byte says how large the pieces are in which they come.
pub fn objects(bytes: &[u8]) {
    notice(&String::from_utf8_lossy(bytes));
    listing(bytes);
    let Some((first, text)) = bytes.split_first() else { return };
    let lines = |piece: usize| {
        let (mut splitter, mut lines) = (LineSplitter::new(64), Vec::new());
        text.chunks(piece).for_each(|part| splitter.push(part, &mut lines));
        lines.extend(splitter.end());
        (lines, splitter.cut())
    };
    let whole = lines(text.len().max(1));
    assert_eq!(whole, lines(usize::from(*first) + 1), "lines depend on pieces");
    assert!(whole.0.iter().all(|line| line.len() <= 64), "a line is too long");
}

/// A container's output: messages do not depend on how the bytes come, and none is too long.
pub fn docker(bytes: &[u8]) {
    frames(bytes, LONGEST_LINE);
}
