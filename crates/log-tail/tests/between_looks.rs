//! What came and went while nobody looked: contents that were written, rotated away and compressed between two looks, or
//! while the agent was down. Each was once read twice or not at all.

mod support;

use std::{fs, io::Write, time::Duration};

use log_tail::FileState;
use support::House;

/// Lines long enough that heads differ, as those of real logs do.
fn lines(from: usize, to: usize) -> Vec<String> {
    (from..to).map(|n| format!("line {n} of this test, with some text behind it")).collect()
}

fn text(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// A house whose `app.log` holds these lines, which were read.
async fn following(pattern: &str, lines: &[String]) -> House {
    let mut house = House::new(pattern);
    house.append("app.log", text(lines));
    house.start();
    house.expect_all(lines).await;
    house
}

/// All of it once, and nothing more after whatever was held back had its time.
async fn once(house: &House, expected: &[String]) {
    house.expect_all(expected).await;
    tokio::time::sleep(house.config.pace.suspicion * 2).await;
    house.expect_all(expected).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_content_that_was_written_and_copied_away_while_the_agent_was_down_is_read() {
    for compress in [false, true] {
        let all = lines(0, 40);
        let mut house = following("app.log", &all[..10]).await;
        house.copy_truncate("app.log", "app.log.1");
        // From here on a record of nothing stands for the file.
        house.until("it is seen to be empty", |house| house.files().iter().any(|file| file.offset == 0)).await;
        house.compress("app.log.1");
        house.stop().await;
        house.append("app.log", text(&all[10..30]));
        house.rename("app.log.1.gz", "app.log.2.gz");
        house.copy_truncate("app.log", "app.log.1");
        if compress {
            house.compress("app.log.1");
        }
        house.append("app.log", text(&all[30..]));
        house.start();
        once(&house, &all).await;
        house.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_content_that_came_into_an_empty_place_and_went_while_the_agent_was_down_is_read() {
    for compress in [false, true] {
        let all = lines(0, 40);
        let mut house = following("app.log", &all[..10]).await;
        house.rename("app.log", "app.log.2");
        house.until("the old file is let go", |house| house.files().is_empty()).await;
        house.stop().await;
        house.append("app.log", text(&all[10..30]));
        house.rename("app.log", "app.log.1");
        if compress {
            house.compress("app.log.1");
        }
        house.append("app.log", text(&all[30..]));
        house.start();
        once(&house, &all).await;
        house.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_was_copied_away_written_anew_and_renamed_while_the_agent_was_down_is_read() {
    for pattern in ["app.log", "app.log*"] {
        let all = lines(0, 40);
        let mut house = following(pattern, &all[..10]).await;
        house.stop().await;
        house.copy_truncate("app.log", "app.log.2");
        house.append("app.log", text(&all[10..30]));
        house.rename("app.log", "app.log.1");
        house.append("app.log", text(&all[30..]));
        house.start();
        once(&house, &all).await;
        house.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_was_compressed_while_the_agent_was_down_is_not_read_again() {
    for pattern in ["app.log", "app.log*"] {
        let all = lines(0, 40);
        let mut house = following(pattern, &all[..10]).await;
        house.copy_truncate("app.log", "app.log.1");
        house.append("app.log", text(&all[10..20]));
        house.expect_all(&all[..20]).await;
        house.stop().await;
        house.append("app.log", text(&all[20..30]));
        house.compress("app.log.1");
        house.rename("app.log.1.gz", "app.log.2.gz");
        house.copy_truncate("app.log", "app.log.1");
        house.compress("app.log.1");
        house.append("app.log", text(&all[30..]));
        house.start();
        once(&house, &all).await;
        house.kill().await;
        house.start();
        once(&house, &all).await;
        house.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_compressed_while_it_is_read_for_the_first_time_is_read_once() {
    for pattern in ["app.log", "app.log*"] {
        let mut house = House::new(pattern);
        let all = lines(0, 60_000);
        house.append("app.log", text(&all));
        house.start();
        house.until("something was read", |house| !house.texts().is_empty()).await;
        house.rename("app.log", "app.log.1");
        house.compress("app.log.1");
        once(&house, &all).await;
        house.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_line_that_is_rotated_away_and_compressed_comes_once() {
    for pattern in ["app.log", "app.log*"] {
        let mut house = House::new(pattern);
        house.append("app.log", "whole\n");
        house.start();
        house.expect(&["whole"]).await;
        house.rename("app.log", "app.log.2");
        house.append("app.log", "half of something");
        house.until("it is met", |house| house.files().iter().any(|file| file.offset == 0 && file.size > 0)).await;
        house.rename("app.log", "app.log.1");
        house.compress("app.log.1");
        house.append("app.log", "next\n");
        once(&house, &["whole", "half of something", "next"].map(str::to_owned)).await;
        house.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_begin_with_the_same_words_are_told_apart() {
    for down in [false, true] {
        let mut house = House::new("app.log");
        let mut expected = vec!["started".to_owned()];
        house.append("app.log", "started\n");
        house.start();
        house.expect_all(&expected).await;
        if down {
            house.kill().await;
        }
        house.rename("app.log", "app.log.1");
        house.append("app.log", "started\nand more\n");
        if down {
            house.start();
        }
        expected.extend(["started", "and more"].map(str::to_owned));
        once(&house, &expected).await;
        house.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compressed_file_that_was_empty_when_it_was_met_is_not_taken_for_text() {
    let mut house = House::new("app.log*");
    house.append("app.log", "one\n");
    house.append("app.log.1.gz", "");
    house.start();
    house.expect(&["one"]).await;
    let is = |house: &House, state: FileState| {
        house.files().iter().any(|file| file.path.ends_with("1.gz") && file.state == state)
    };
    house.until("the empty file is met", |house| is(house, FileState::Following)).await;
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(b"two\nthree\n").unwrap();
    house.append("app.log.1.gz", packed.finish().unwrap());
    house.until("it is known for what it is", |house| is(house, FileState::Compressed)).await;
    house.append("app.log", "four\n");
    house.expect(&["one", "four"]).await;
    house.stop().await;
    house.start();
    house.append("app.log", "five\n");
    house.expect(&["one", "four", "five"]).await;
    house.stop().await;
}

/// A sibling that another program writes is nobody's remainder, however new it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_neighbour_that_looks_alike_and_rotates_at_the_same_time_is_left_alone() {
    let mut house = House::new("worker-1.log");
    let all = lines(0, 20);
    house.append("worker-1.log", text(&all[..10]));
    house.append("worker-2.log", "another's\n");
    house.start();
    house.expect_all(&all[..10]).await;
    for name in ["worker-1.log", "worker-2.log"] {
        house.rename(name, &format!("{name}.1"));
    }
    house.append("worker-2.log", "another's too\n");
    house.append("worker-1.log", text(&all[10..]));
    once(&house, &all).await;
    house.stop().await;
}

/// `gzip` keeps the time of the last writing, which says that the content is older than what was followed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_rotated_before_our_time_is_not_read_when_it_is_compressed_in_ours() {
    let mut house = House::new("app.log");
    let all = lines(0, 20);
    house.append("app.log.1", "of old\n");
    let hour_ago = std::time::SystemTime::now() - Duration::from_secs(3600);
    fs::File::options().write(true).open(house.path("app.log.1")).unwrap().set_modified(hour_ago).unwrap();
    house.append("app.log", text(&all[..10]));
    house.start();
    house.expect_all(&all[..10]).await;
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(b"of old\n").unwrap();
    fs::write(house.path("unfinished"), packed.finish().unwrap()).unwrap();
    fs::File::options().write(true).open(house.path("unfinished")).unwrap().set_modified(hour_ago).unwrap();
    fs::remove_file(house.path("app.log.1")).unwrap();
    house.rename("app.log", "app.log.1");
    house.rename("unfinished", "app.log.2.gz");
    house.append("app.log", text(&all[10..]));
    once(&house, &all).await;
    house.stop().await;
}

/// The first words of a content may be known to the queue alone: killed before positions were written down.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_before_positions_are_written_down_costs_nothing() {
    for pattern in ["app.log", "app.log*"] {
        let mut house = House::new(pattern);
        house.config.positions.sync_period = Duration::from_secs(3600);
        let all = lines(0, 60);
        for round in 0..4 {
            let from = round * 15;
            house.append("app.log", text(&all[from..from + 10]));
            if house.tail.is_none() {
                house.start();
            }
            house.expect_all(&all[..from + 10]).await;
            house.kill().await;
            house.append("app.log", text(&all[from + 10..from + 15]));
            match round % 2 {
                0 => house.rename("app.log", &format!("app.log.{}", 4 - round)),
                _ => house.copy_truncate("app.log", &format!("app.log.{}", 4 - round)),
            }
        }
        house.append("app.log", "");
        house.start();
        once(&house, &all).await;
        house.stop().await;
    }
}

/// Nothing of it is in the queue and nothing was written down, so only the time when its path was last seen without it can
/// lead to it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_line_that_rotated_away_before_a_kill_is_found_again() {
    for compress in [false, true] {
        let mut house = House::new("app.log");
        house.config.positions.sync_period = Duration::from_secs(3600);
        // Long enough that the half line is not in the queue before the kill.
        house.config.pace.drain = Duration::from_secs(5);
        let all = lines(0, 20);
        house.append("app.log", text(&all[..10]));
        house.start();
        house.expect_all(&all[..10]).await;
        house.rename("app.log", "app.log.2");
        house.until("the old file is let go", |house| house.files().is_empty()).await;
        house.tail.as_ref().unwrap().sync();
        house
            .until("that is written down", |house| {
                let text = fs::read_to_string(&house.config.positions.state_file).unwrap();
                text.contains("\"finished_at\":460")
            })
            .await;
        house.append("app.log", "half of something");
        house.until("it is met", |house| house.files().iter().any(|file| file.offset == 0 && file.size > 0)).await;
        // Until nothing that came before it is looked for any more.
        tokio::time::sleep(house.config.pace.survey * 3 + house.config.pace.suspicion * 2).await;
        house.rename("app.log", "app.log.1");
        house.append("app.log", text(&all[10..]));
        house.until("the new file is in the queue", |house| house.texts().contains(&all[19])).await;
        house.kill().await;
        if compress {
            house.compress("app.log.1");
        }
        house.config.pace.drain = support::quick().drain;
        house.start();
        let expected: Vec<String> = all.iter().cloned().chain(["half of something".to_owned()]).collect();
        once(&house, &expected).await;
        house.stop().await;
    }
}

/// Its path was never met: only the pattern was looked up before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_that_came_and_rotated_while_the_agent_was_down_is_read_from_its_first_content() {
    for compress in [false, true] {
        let mut house = House::new("*.log");
        let all = lines(0, 40);
        house.append("other.log.1", "rotated before anybody looked\n");
        house.append("other.log", text(&all[..10]));
        // By more than the clocks of file systems lag behind.
        tokio::time::sleep(Duration::from_millis(500)).await;
        house.start();
        house.expect_all(&all[..10]).await;
        house.stop().await;
        house.append("app.log", text(&all[10..20]));
        house.rename("app.log", "app.log.1");
        if compress {
            house.compress("app.log.1");
        }
        house.append("app.log", text(&all[20..]));
        house.start();
        once(&house, &all).await;
        house.kill().await;
        house.start();
        once(&house, &all).await;
        house.stop().await;
    }
}

/// Whoever looks beside the path before the reader saw that the file was cut knows only the old content of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_into_a_file_that_was_cut_and_was_compressed_before_anybody_looked_is_read_once() {
    for pattern in ["app.log", "app.log*"] {
        for round in 0..8 {
            let all = lines(0, 70);
            let mut house = following(pattern, &all[..1]).await;
            // Another moment of the surveys' and polls' turns each time.
            tokio::time::sleep(Duration::from_millis(30 + round * 13)).await;
            house.copy_truncate("app.log", "app.log.1");
            house.append("app.log", text(&all[1..61]));
            house.rename("app.log.1", "app.log.2");
            house.rename("app.log", "app.log.1");
            house.append("app.log", "half ");
            house.compress("app.log.1");
            house.append("app.log", "and half\n");
            let expected: Vec<String> = all[..61].iter().cloned().chain(["half and half".to_owned()]).collect();
            once(&house, &expected).await;
            house.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_what_came_into_a_file_that_was_cut_is_not_read_beside_it() {
    for round in 0..8 {
        let all = lines(0, 70);
        let mut house = following("app.log*", &all[..1]).await;
        tokio::time::sleep(Duration::from_millis(30 + round * 13)).await;
        house.copy_truncate("app.log", "app.log.1");
        house.append("app.log", text(&all[1..61]));
        house.rename("app.log.1", "app.log.2");
        fs::copy(house.path("app.log"), house.path("app.log.1")).unwrap();
        tokio::time::sleep(house.config.pace.survey).await;
        fs::File::options().write(true).open(house.path("app.log")).unwrap().set_len(0).unwrap();
        house.append("app.log", text(&all[61..]));
        once(&house, &all).await;
        house.stop().await;
    }
}
