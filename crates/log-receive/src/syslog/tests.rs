//! Messages and frames: examples of the RFCs, and any bytes.

use proptest::prelude::*;

use super::{
    framing::{BadFrame, Framed, Framing},
    message::{SyslogFormat, SyslogMessage, parse, priority},
};

/// 2023-11-14T22:13:20Z.
const NOW: i64 = 1_700_000_000_000_000_000;

fn read(text: &str) -> SyslogMessage<'_> {
    parse(text, SyslogFormat::Either, NOW).unwrap()
}

fn strict(text: &str) -> Option<SyslogMessage<'_>> {
    parse(text, SyslogFormat::Rfc5424, NOW)
}

#[test]
fn the_examples_of_rfc_5424_are_read() {
    let message =
        strict("<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 - \u{feff}'su root' failed").unwrap();
    assert_eq!(message.timestamp_ns, Some(1_065_910_455_003_000_000));
    assert_eq!((message.hostname, message.app_name), ("mymachine.example.com", "su"));
    assert_eq!((message.proc_id, message.msg_id), ("", "ID47"));
    assert_eq!(message.text, "'su root' failed");
    let labels = message.labels(false);
    assert!(labels.contains(&("__syslog_message_severity".into(), "critical".into())), "{labels:?}");
    assert!(labels.contains(&("__syslog_message_facility".into(), "auth".into())), "{labels:?}");

    let message = strict("<165>1 2003-08-24T05:14:15.000003-07:00 192.0.2.1 myproc 8710 - - %% It's time").unwrap();
    assert_eq!(message.timestamp_ns, Some(1_061_727_255_000_003_000));
    assert_eq!(message.proc_id, "8710");

    let message = strict(
        "<165>1 - host app - ID47 [exampleSDID@32473 iut=\"3\" note=\"a \\\"b\\\" \\] c\"][priority@32473 class=\"high\"] text",
    )
    .unwrap();
    assert_eq!(message.timestamp_ns, None);
    let labels = message.labels(true);
    for (name, value) in [
        ("__syslog_message_sd_exampleSDID_32473_iut", "3"),
        ("__syslog_message_sd_exampleSDID_32473_note", "a \"b\" ] c"),
        ("__syslog_message_sd_priority_32473_class", "high"),
    ] {
        assert!(labels.contains(&(name.into(), value.into())), "{name}: {labels:?}");
    }
    assert_eq!(message.text, "text");
    assert_eq!(strict("<0>1 - - - - - -").unwrap().text, "");
}

#[test]
fn what_is_not_rfc_5424_is_refused_by_the_strict_reader() {
    for text in [
        "",
        "hello",
        "<192>1 - - - - - - x",
        "<01>1 - - - - - - x",
        "<1>0 - - - - - - x",
        "<1>1 yesterday - - - - - x",
        "<1>1 - - - - -",
        "<1>1 - - - - - [a",
        "<1>1 - - - - - [a b=\"c] x",
        "<1>1 - - - - - [a b=\"c\"]x",
        "<34>Oct 11 22:14:15 mymachine su: failed",
    ] {
        assert_eq!(strict(text), None, "{text}");
    }
}

#[test]
fn the_dialects_of_rfc_3164_are_read() {
    let message = read("<34>Nov 14 22:14:15 mymachine su[12]: 'su root' failed on /dev/pts/8");
    assert_eq!((message.hostname, message.app_name, message.proc_id), ("mymachine", "su", "12"));
    assert_eq!(message.text, "'su root' failed on /dev/pts/8");
    // Local time, whatever the zone of the machine is: within a day of now.
    assert!(message.timestamp_ns.unwrap().abs_diff(NOW) < 86_400_000_000_000);

    let message = read("<13>Feb  5 17:32:18 10.0.0.99 Use the BFG!");
    assert_eq!((message.hostname, message.app_name, message.text), ("10.0.0.99", "", "Use the BFG!"));

    let message = read("<13>Nov 14 22:14:15 app: no host");
    assert_eq!((message.hostname, message.app_name, message.text), ("", "app", "no host"));

    let message = read("<13>2023-11-14T22:13:20+00:00 host app: with a modern time");
    assert_eq!((message.timestamp_ns, message.hostname), (Some(NOW), "host"));

    let message = read("no priority at all");
    assert_eq!((message.priority, message.text), (13, "no priority at all"));
}

#[test]
fn a_time_without_a_year_is_of_the_latest_year_that_is_not_ahead() {
    let day = 86_400_000_000_000;
    let at = |text: &str, now: i64| {
        let text = format!("<13>{text} h a: b");
        let message = parse(&text, SyslogFormat::Rfc3164, now).unwrap();
        (message.timestamp_ns.unwrap() - now).div_euclid(day)
    };
    // Now is the first second of 2024; the message was written in the last one of 2023.
    let now = 1_704_067_200_000_000_000;
    assert!((-2..=0).contains(&at("Dec 31 23:59:59", now)));
    // The last second of 2023, by a clock that is a little ahead.
    assert!((-1..=1).contains(&at("Jan  1 00:00:30", now - 1_000_000_000)));
    // 2023-11-22: of the past February, and not of the coming one.
    assert!((-292..=-288).contains(&at("Feb  5 10:00:00", 1_700_611_200_000_000_000)));
}

#[test]
fn priorities_are_read_strictly() {
    assert_eq!(priority("<191>x"), Some((191, "x")));
    for bad in ["<>x", "<1x", "<1234>x", "<-1>x", "<+1>x", "191>x"] {
        assert_eq!(priority(bad), None, "{bad}");
    }
}

fn frames(bytes: &[u8], limit: usize, piece: usize) -> (Vec<Framed>, Result<(), BadFrame>) {
    let (mut framing, mut out) = (Framing::new(limit), Vec::new());
    for part in bytes.chunks(piece) {
        if let Err(bad) = framing.push(part, &mut out) {
            return (out, Err(bad));
        }
    }
    framing.end(&mut out);
    (out, Ok(()))
}

fn whole(text: &str) -> Framed {
    Framed { bytes: text.as_bytes().to_vec(), cut: false }
}

#[test]
fn both_framings_are_told_apart_in_one_stream_and_in_pieces_of_any_size() {
    let stream = b"5 <1>ab<2>line one\r\n\n7 <3>a\nbc\n<4>the end";
    for piece in 1..stream.len() {
        let (found, result) = frames(stream, 100, piece);
        assert_eq!(result, Ok(()));
        assert_eq!(found, [whole("<1>ab"), whole("<2>line one"), whole("<3>a\nbc"), whole("<4>the end")]);
    }
}

#[test]
fn long_messages_are_cut_and_the_next_one_is_read() {
    let (found, _) = frames(b"12 <1>aaaaaaaaa<2>bbbbbbbbbbbbbb\n<3>c\n", 6, 3);
    let cut = |text: &str| Framed { bytes: text.as_bytes().to_vec(), cut: true };
    assert_eq!(found, [cut("<1>aaa"), cut("<2>bbb"), whole("<3>c")]);
    assert_eq!(frames(b"999999999 x", 6, 3).1, Err(BadFrame));
    assert_eq!(frames(b"12x", 6, 3).1, Err(BadFrame));
}

proptest! {
    #[test]
    fn no_text_panics(text in "<?[0-9]{0,4}>?1? ?[-A-Za-z0-9:.\\[\\]\"=\\\\ é]*") {
        for format in [SyslogFormat::Either, SyslogFormat::Rfc5424, SyslogFormat::Rfc3164] {
            if let Some(message) = parse(&text, format, NOW) {
                message.labels(true);
            }
        }
    }

    #[test]
    fn no_stream_grows_past_the_limit(bytes in prop::collection::vec(any::<u8>(), 0..500), piece in 1usize..60) {
        for framed in frames(&bytes, 20, piece).0 {
            prop_assert!(framed.bytes.len() <= 20);
        }
    }
}
