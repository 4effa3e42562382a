//! Files that are none, and bytes that are no text: nothing stops the file, nothing stops the others, and what could not be
//! taken as it was is counted.

mod support;

use std::{fs, io::Write, os::unix::net::UnixListener};

use log_tail::FileState;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use support::House;

/// The value of a metric of the house.
fn metric(house: &House, name: &str) -> Option<f64> {
    let mut page = String::new();
    prometheus_client::encoding::text::encode(&mut page, &house.metrics).unwrap();
    page.lines().filter(|line| line.starts_with(name)).find_map(|line| line.rsplit(' ').next()?.parse().ok())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pipes_sockets_directories_and_links_to_nowhere_stop_no_file() {
    let mut house = House::new("*.log");
    house.append("a.log", "one\n");
    fs::create_dir(house.path("directory.log")).unwrap();
    mknodat(CWD, house.path("pipe.log"), FileType::Fifo, Mode::from_raw_mode(0o644), 0).unwrap();
    let _socket = UnixListener::bind(house.path("socket.log")).unwrap();
    std::os::unix::fs::symlink(house.path("nowhere"), house.path("link.log")).unwrap();
    house.start();
    house.expect(&["one"]).await;
    let failed = |house: &House| {
        let files = house.files();
        files.iter().filter(|file| matches!(file.state, FileState::Failed(_))).count()
    };
    house.until("the pipe and the socket are told", |house| failed(house) == 2).await;
    assert_eq!(metric(&house, "sigpost_tail_unreadable_files"), Some(2.0));
    // What stands in the way may become a file.
    fs::remove_file(house.path("pipe.log")).unwrap();
    house.append("pipe.log", "two\n");
    house.append("nowhere", "three\n");
    house.append("z.log", "four\n");
    house.expect(&["one", "two", "three", "four"]).await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_are_no_text_and_endless_lines_stop_no_file() {
    const LONGEST: usize = 1 << 20;
    let mut house = House::new("*.log");
    let garbage: Vec<u8> = (0..200_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let lines: Vec<String> =
        garbage.split(|byte| *byte == b'\n').map(|line| String::from_utf8_lossy(line).into_owned()).collect();
    house.append("garbage.log", &garbage);
    house.append("garbage.log", "\nafter it\n");
    // Two and a half of the longest pieces, without an end for a while.
    let long = "x".repeat(LONGEST * 5 / 2);
    house.append("long.log", &long);
    house.append("zeros.log", vec![0; 10_000]);
    house.append("good.log", "good\n");
    house.start();
    house.until("the good file is read", |house| house.texts().iter().any(|text| text == "good")).await;
    house.append("long.log", "\nshort\n");
    house.append("zeros.log", "\nbehind zeros\n");
    let mut expected = lines;
    expected.extend(["after it", "good", "short", "behind zeros"].map(str::to_owned));
    expected.push("\0".repeat(10_000));
    expected.extend([long[..LONGEST].to_owned(), long[..LONGEST].to_owned(), long[..LONGEST / 2].to_owned()]);
    house.expect_all(&expected).await;
    assert_eq!(metric(&house, "sigpost_tail_lines_split_total"), Some(2.0));
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_removed_while_it_is_read_is_read_to_its_end() {
    let mut house = House::new("*.log");
    let all: Vec<String> = (0..60_000).map(|n| format!("line {n} of a file that will be gone")).collect();
    let text: String = all.iter().map(|line| format!("{line}\n")).collect();
    house.append("a.log", &text);
    house.start();
    house.until("something was read", |house| !house.texts().is_empty()).await;
    fs::remove_file(house.path("a.log")).unwrap();
    house.append("b.log", "another\n");
    let mut expected = all;
    expected.push("another".to_owned());
    house.expect_all(&expected).await;
    house.until("it is let go", |house| house.files().len() == 1).await;
    house.stop().await;
}

/// A damaged compressed file gives what it holds up to the damage, says so, and stops nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compressed_file_that_ends_in_the_middle_stops_no_other() {
    let mut house = House::new("*.gz");
    house.job.decompression =
        Some(log_tail::Decompression { format: log_tail::Packing::Gzip, initial_delay: std::time::Duration::ZERO });
    let gzip = |text: &str| {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        out.write_all(text.as_bytes()).unwrap();
        out.finish().unwrap()
    };
    let whole = gzip(&"some text that repeats itself\n".repeat(1000));
    house.append("broken.gz", &whole[..whole.len() / 2]);
    house.append("sound.gz", gzip("one\ntwo\n"));
    house.start();
    let has = |house: &House, text: &str| house.texts().iter().any(|held| held == text);
    house.until("the sound one is read", |house| has(house, "one") && has(house, "two")).await;
    house
        .until("the broken one is told", |house| {
            house.files().iter().any(|f| f.path.ends_with("broken.gz") && matches!(f.state, FileState::Failed(_)))
        })
        .await;
    house.stop().await;
}
