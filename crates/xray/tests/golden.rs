//! Documents byte for byte as an earlier implementation wrote them, which decoded spans and left the writing to serde_json.
//!
//! A line of `golden/documents.txt` is `all` or `some` (what is indexed), a request as base64, and the list of its documents
//! as `PutTraceSegments` gets it. They were made from random spans; whoever changes a rule changes them with it.

mod fixture;

use base64::Engine;
use fixture::read;
use xray::Options;

#[test]
fn documents_are_the_same_to_the_byte() {
    let mut lines = 0;
    for line in include_str!("golden/documents.txt").lines() {
        let [indexed, request, expected] = line.splitn(3, ' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let request = base64::engine::general_purpose::STANDARD.decode(request).unwrap();
        let options = Options {
            annotate_all: indexed == "all",
            log_groups: vec!["g".into()],
            max_bytes: 4000,
            annotations: vec!["http.url".into()],
        };
        let documents: Vec<_> = read(&request, &options).into_iter().flatten().flatten().map(|one| one.json).collect();
        assert_eq!(serde_json::to_string(&documents).unwrap(), expected);
        lines += 1;
    }
    assert_eq!(lines, 60);
}

/// Whatever bytes a lane of the queue gives back, reading them ends.
#[test]
fn a_request_that_is_cut_or_damaged_gives_what_stands_before_and_ends() {
    let line = include_str!("golden/documents.txt").lines().next().unwrap();
    let request = base64::engine::general_purpose::STANDARD.decode(line.split(' ').nth(1).unwrap()).unwrap();
    let whole = read(&request, &Options::default()).len();
    for end in 0..request.len() {
        assert!(read(&request[..end], &Options::default()).len() <= whole, "cut at {end}");
        let mut damaged = request.clone();
        damaged[end] ^= 0x5a;
        // A flipped bit can make one group of several, or none; each takes at least a byte.
        assert!(read(&damaged, &Options::default()).len() <= request.len(), "damaged at {end}");
    }
}
