//! What may be in a file: encodings, compression, long lines, garbage, limits, and Promtail's positions.

mod support;

use std::{fs, io::Write, time::Duration};

use log_tail::{Charset, Decompression, FileState, Limits, Packing};
use support::House;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn encodings_become_utf8() {
    let mut house = House::new("*.log");
    house.job.charset = Charset::from_name("UTF-16").unwrap();
    let bytes: Vec<u8> = "\u{feff}grüße\n日本\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    house.append("a.log", &bytes[..9]);
    house.start();
    house.append("a.log", &bytes[9..]);
    house.expect(&["grüße", "日本"]).await;
    house.kill().await;
    house.start();
    let more: Vec<u8> = "été\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    house.append("a.log", more);
    house.expect(&["grüße", "日本", "été"]).await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_becomes_text_and_stops_nothing() {
    let mut house = House::new("*.log");
    house.append("a.log", b"\xff\xfe\x00 bad\n\x00\x00\nok\n");
    house.start();
    house.expect(&["\u{fffd}\u{fffd}\0 bad", "\0\0", "ok"]).await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_longer_than_any_buffer_comes_in_pieces() {
    let mut house = House::new("*.log");
    let long: String = (0..300_000).map(|n| format!("{n:07}é")).collect();
    house.append("a.log", format!("before\n{long}\nafter\n"));
    house.start();
    house.until("it is read", |house| house.texts().last().is_some_and(|text| text == "after")).await;
    let texts = house.texts();
    assert_eq!(texts[0], "before");
    assert!(texts.len() > 3, "in {} entries", texts.len());
    assert_eq!(texts[1..texts.len() - 1].concat(), long);
    house.stop().await;
}

/// A document of several megabytes on one line, as programs log answers of others.
fn document(size: usize) -> String {
    let padding: String = (0..size / 8).map(|n| format!("{n:07}x")).collect();
    format!("{{\"padding\":\"{padding}\",\"level\":\"error\",\"message\":\"the end of it\"}}")
}

fn json_message() -> Vec<stages::StageConfig> {
    use stages::{
        StageConfig,
        config::{JsonConfig, OutputConfig},
    };
    let expressions = vec![("message".to_owned(), None), ("level".to_owned(), None)];
    vec![
        StageConfig::Json(JsonConfig { expressions, source: None, drop_malformed: false }),
        StageConfig::Labels(vec![("level".into(), None)]),
        StageConfig::Output(OutputConfig { source: "message".into() }),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stages_see_a_line_of_up_to_eight_mebibytes_as_one() {
    for packed in [false, true] {
        let mut house = House::new("a.log*");
        house.job.stages.stages = json_message();
        house.append("a.log", format!("{}\n{{\"message\":\"short\"}}\n", document(7 << 20)));
        if packed {
            house.job.decompression = Some(Decompression { format: Packing::Gzip, initial_delay: Duration::ZERO });
            house.compress("a.log");
        }
        house.start();
        house.expect(&["the end of it", "short"]).await;
        assert_eq!(house.lines()[0].labels.get("level"), Some("error"));
        house.stop().await;
    }
}

/// The pieces of a longer one go through the stages each for itself, and nothing of it is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_longer_line_goes_through_the_stages_in_pieces() {
    let mut house = House::new("*.log");
    house.job.stages.stages = json_message();
    let line = document(9 << 20);
    house.append("a.log", format!("{line}\n{{\"message\":\"short\"}}\n"));
    house.start();
    house.until("it is read", |house| house.texts().last().is_some_and(|text| text == "short")).await;
    let texts = house.texts();
    assert_eq!((texts.len(), texts[0].len()), (3, 8 << 20));
    assert!(texts[..2].concat() == line);
    house.stop().await;
}

/// What the limit says of a line that comes in pieces, it says of all of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn max_line_size_leaves_no_end_of_a_line_that_is_too_long() {
    for (stages, size) in [(Vec::new(), 2 << 20), (json_message(), 9 << 20)] {
        for truncate in [false, true] {
            let mut house = House::new("*.log");
            house.job.stages.stages = stages.clone();
            house.job.limits = Limits { max_line_size: 300_000, truncate };
            // The last piece alone would be short enough.
            let line = "x".repeat(size + 100);
            house.append("a.log", format!("{line}\nbetween\n{line}\nafter\n"));
            house.start();
            house.until("it is read", |house| house.texts().last().is_some_and(|text| text == "after")).await;
            let lengths: Vec<usize> = house.texts().iter().map(String::len).collect();
            let expected = if truncate { vec![300_000, 7, 300_000, 5] } else { vec![7, 5] };
            assert_eq!(lengths, expected);
            house.stop().await;
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &house.metrics).unwrap();
            let counted = match truncate {
                true => "sigpost_tail_lines_truncated_total{logs_config=\"default\"} 2",
                false => "logentry_dropped_lines_total{logs_config=\"default\",reason=\"line_too_long\"} 2",
            };
            assert!(text.contains(counted), "{text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn max_line_size_drops_or_cuts() {
    for (truncate, expected) in [(false, vec!["short"]), (true, vec!["short", "a long"])] {
        let mut house = House::new("*.log");
        house.job.limits = Limits { max_line_size: 6, truncate };
        house.append("a.log", "short\na long line\n");
        house.start();
        house.expect(&expected).await;
        house.stop().await;
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &house.metrics).unwrap();
        let counted = if truncate {
            "sigpost_tail_lines_truncated_total{logs_config=\"default\"} 1"
        } else {
            "logentry_dropped_lines_total{logs_config=\"default\",reason=\"line_too_long\"} 1"
        };
        assert!(text.contains(counted), "{text}");
        assert!(text.contains("promtail_read_lines_total{logs_config=\"default\",path="), "{text}");
        assert!(text.contains("promtail_files_active_total{logs_config=\"default\"} 1"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compressed_files_are_read_once() {
    let lines: Vec<String> = (0..50_000).map(|n| format!("line {n} {}", n * 7919 % 10_007)).collect();
    let text: Vec<u8> = lines.iter().flat_map(|line| format!("{line}\n").into_bytes()).collect();
    let packed = |packing| -> Vec<u8> {
        match packing {
            Packing::Gzip => {
                let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                out.write_all(&text).unwrap();
                out.finish().unwrap()
            }
            Packing::Zlib => {
                let mut out = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
                out.write_all(&text).unwrap();
                out.finish().unwrap()
            }
            Packing::Bzip2 => {
                let mut out = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
                out.write_all(&text).unwrap();
                out.finish().unwrap()
            }
            Packing::Zstd => zstd::encode_all(text.as_slice(), 1).unwrap(),
        }
    };
    for format in [Packing::Gzip, Packing::Zlib, Packing::Bzip2, Packing::Zstd] {
        let mut house = House::new("*.z");
        house.job.decompression = Some(Decompression { format, initial_delay: Default::default() });
        fs::write(house.path("a.z"), packed(format)).unwrap();
        house.start();
        house.until("some lines are in the queue", |house| !house.texts().is_empty()).await;
        house.kill().await;
        house.start();
        house.expect_all(&lines).await;
        house.kill().await;
        house.start();
        house.until("it is done", |house| house.files().iter().any(|file| file.state == FileState::Done)).await;
        house.expect_all(&lines).await;
        house.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compressed_file_without_decompression_says_so_and_is_not_read_as_text() {
    let mut house = House::new("*");
    fs::write(house.path("a.gz"), b"\x1f\x8b\x08\x00garbage\ngarbage\n").unwrap();
    house.append("b.log", "one\n");
    house.start();
    house.expect(&["one"]).await;
    house
        .until("its state is told", |house| house.files().iter().any(|file| file.state == FileState::Compressed))
        .await;
    house.expect(&["one"]).await;
    let gauge = "sigpost_tail_unreadable_files{logs_config=\"default\"} 1";
    house.until("it is counted", |house| metrics(house).contains(gauge)).await;
    house.stop().await;
}

fn metrics(house: &House) -> String {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &house.metrics).unwrap();
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_compressed_file_that_ends_too_early_what_can_be_unpacked_comes_once() {
    use std::io::Read;
    let text: String = (0..20_000).map(|n| format!("line {n} {}\n", n * 7919 % 10_007)).collect();
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(text.as_bytes()).unwrap();
    let whole = out.finish().unwrap();
    let half = &whole[..whole.len() / 2];
    let mut readable = Vec::new();
    flate2::read::GzDecoder::new(half).read_to_end(&mut readable).unwrap_err();
    let lines: Vec<String> = String::from_utf8(readable).unwrap().lines().map(str::to_owned).collect();
    assert!(lines.len() > 1000);
    let mut house = House::new("*.gz");
    house.job.decompression = Some(Decompression { format: Packing::Gzip, initial_delay: Default::default() });
    fs::write(house.path("a.gz"), half).unwrap();
    house.start();
    house.expect_all(&lines).await;
    let gauge = "sigpost_tail_unreadable_files{logs_config=\"default\"} 1";
    house.until("it is counted", |house| metrics(house).contains(gauge)).await;
    house.kill().await;
    house.start();
    tokio::time::sleep(house.config.pace.suspicion * 2).await;
    house.expect_all(&lines).await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn positions_of_promtail_are_taken_over_once_and_written_for_tools() {
    let mut house = House::new("*.log");
    let yaml = house.root.path().join("positions.yaml");
    house.config.positions.promtail_file = Some(yaml.clone());
    house.append("a.log", "old\nnew\n");
    house.append("short.log", "abc\n");
    let text = format!(
        "positions:\n  {}: \"4\"\n  {}: \"400\"\n  cursor-journal: s=abc\n",
        house.path("a.log").display(),
        house.path("short.log").display()
    );
    fs::write(&yaml, text).unwrap();
    house.start();
    house.expect(&["new", "abc"]).await;
    let entry = format!("{}: \"8\"", house.path("a.log").display());
    house.until("the file is written", |_| fs::read_to_string(&yaml).unwrap().contains(&entry)).await;
    assert!(fs::read_to_string(&yaml).unwrap().contains("cursor-journal: \"s=abc\""));
    house.kill().await;
    fs::write(&yaml, "positions: {}\n").unwrap();
    house.start();
    house.append("a.log", "newer\n");
    house.expect(&["new", "abc", "newer"]).await;
    house.stop().await;
}
