//! The table of rotations: whatever happens to a path, every line comes once.

mod support;

use std::{fs, io::Write, os::unix::fs::PermissionsExt};

use log_tail::{Decompression, FileState, Packing};
use support::House;

/// Lines long enough that heads differ, as those of real logs do.
fn lines(from: usize, to: usize) -> Vec<String> {
    (from..to).map(|n| format!("line {n} of this test, with some text behind it")).collect()
}

fn text(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renamed_file_is_finished_and_the_new_one_begun() {
    for pattern in ["app.log", "app.log*"] {
        let mut house = House::new(pattern);
        let all = lines(0, 30);
        house.append("app.log", text(&all[..10]));
        house.start();
        house.expect_all(&all[..10]).await;
        house.rename("app.log", "app.log.1");
        house.append("app.log.1", text(&all[10..20]));
        house.append("app.log", text(&all[20..]));
        house.expect_all(&all).await;
        house.stop().await;
        house.start();
        tokio::time::sleep(house.config.pace.suspicion).await;
        house.expect_all(&all).await;
        house.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_rotations_between_two_looks_lose_no_file() {
    for pattern in ["app.log", "app.log*"] {
        let mut house = House::new(pattern);
        let all = lines(0, 40);
        house.append("app.log", text(&all[..10]));
        house.start();
        house.expect_all(&all[..10]).await;
        house.append("app.log", text(&all[10..20]));
        house.rename("app.log", "app.log.1");
        house.append("app.log", text(&all[20..30]));
        house.rename("app.log.1", "app.log.2");
        house.rename("app.log", "app.log.1");
        house.append("app.log", text(&all[30..]));
        house.expect_all(&all).await;
        let filename = house.path("app.log").display().to_string();
        if pattern == "app.log" {
            assert!(house.lines().iter().all(|line| line.labels.get("filename") == Some(&filename)));
        }
        house.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copied_and_truncated_file_is_finished_from_the_copy() {
    for pattern in ["app.log", "app.log*"] {
        for down in [false, true] {
            let mut house = House::new(pattern);
            let all = lines(0, 30);
            house.append("app.log", text(&all[..10]));
            house.start();
            house.expect_all(&all[..10]).await;
            if down {
                house.kill().await;
            }
            house.append("app.log", text(&all[10..20]));
            fs::copy(house.path("app.log"), house.path("app.log.1")).unwrap();
            fs::File::options().write(true).open(house.path("app.log")).unwrap().set_len(0).unwrap();
            house.append("app.log", text(&all[20..]));
            if down {
                house.start();
            }
            house.expect_all(&all).await;
            tokio::time::sleep(house.config.pace.suspicion * 2).await;
            house.expect_all(&all).await;
            house.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_outgrew_its_old_size_after_truncation_is_read_from_its_beginning() {
    let mut house = House::new("app.log");
    let all = lines(0, 40);
    house.append("app.log", text(&all[..10]));
    house.start();
    house.expect_all(&all[..10]).await;
    house.kill().await;
    fs::write(house.path("app.log"), text(&all[10..])).unwrap();
    house.start();
    house.expect_all(&all).await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_truncated_and_then_renamed_while_the_agent_is_down_is_read_from_its_beginning() {
    let mut house = House::new("app.log");
    let all = lines(0, 30);
    house.append("app.log", text(&all[..10]));
    house.start();
    house.expect_all(&all[..10]).await;
    house.stop().await;
    fs::File::options().write(true).open(house.path("app.log")).unwrap().set_len(0).unwrap();
    house.append("app.log", text(&all[10..20]));
    house.rename("app.log", "app.log.1");
    house.append("app.log", text(&all[20..]));
    house.start();
    house.expect_all(&all).await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotation_while_the_agent_is_down_is_caught_up_with() {
    for pattern in ["app.log", "app.log*"] {
        let mut house = House::new(pattern);
        let all = lines(0, 40);
        house.append("app.log", text(&all[..10]));
        house.start();
        house.expect_all(&all[..10]).await;
        house.kill().await;
        house.append("app.log", text(&all[10..20]));
        house.rename("app.log", "app.log.1");
        house.append("app.log", text(&all[20..30]));
        house.rename("app.log.1", "app.log.2");
        house.rename("app.log", "app.log.1");
        house.append("app.log", text(&all[30..]));
        house.start();
        house.expect_all(&all).await;
        house.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_remainder_that_was_compressed_meanwhile_is_finished() {
    let mut house = House::new("app.log");
    let all = lines(0, 60);
    house.append("app.log", text(&all[..20]));
    house.start();
    house.expect_all(&all[..20]).await;
    house.kill().await;
    house.append("app.log", text(&all[20..40]));
    let bytes = fs::read(house.path("app.log")).unwrap();
    fs::write(house.path("app.log.1.gz"), gzip(&bytes)).unwrap();
    fs::remove_file(house.path("app.log")).unwrap();
    house.append("app.log", text(&all[40..]));
    house.start();
    house.expect_all(&all).await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotated_file_that_is_compressed_under_a_matching_name_is_not_read_again() {
    let mut house = House::new("app.log*");
    house.job.decompression = Some(Decompression { format: Packing::Gzip, initial_delay: Default::default() });
    let all = lines(0, 40);
    house.append("app.log", text(&all[..20]));
    house.start();
    house.expect_all(&all[..20]).await;
    house.rename("app.log", "app.log.1");
    house.append("app.log", text(&all[20..]));
    house.expect_all(&all).await;
    let bytes = fs::read(house.path("app.log.1")).unwrap();
    fs::write(house.path("app.log.1.gz"), gzip(&bytes)).unwrap();
    fs::remove_file(house.path("app.log.1")).unwrap();
    let packed = house.path("app.log.1.gz");
    house
        .until("the compressed file is done", |house| {
            house.files().iter().any(|file| file.place == packed && file.state == FileState::Done)
        })
        .await;
    house.expect_all(&all).await;
    house.kill().await;
    house.start();
    house
        .until("the compressed file is done again", |house| {
            house.files().iter().any(|file| file.place == packed && file.state == FileState::Done)
        })
        .await;
    house.expect_all(&all).await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_file_is_read_to_its_end_and_its_last_words_come() {
    let mut house = House::new("*.log");
    house.append("a.log", "one\n");
    house.start();
    house.expect(&["one"]).await;
    let mut writer = fs::File::options().append(true).open(house.path("a.log")).unwrap();
    fs::remove_file(house.path("a.log")).unwrap();
    writer.write_all(b"two\nlast words").unwrap();
    drop(writer);
    house.expect(&["one", "two", "last words"]).await;
    house.until("the file is closed", |house| house.files().is_empty()).await;
    house.append("a.log", "three\n");
    house.expect(&["one", "two", "last words", "three"]).await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unfinished_line_waits_until_its_file_has_rotated_away() {
    let mut house = House::new("app.log");
    house.append("app.log", "whole\nhalf");
    house.start();
    house.expect(&["whole"]).await;
    house.rename("app.log", "app.log.1");
    house.append("app.log", "next\n");
    house.expect(&["whole", "half", "next"]).await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_goes_on_behind_a_truncation_leaves_no_line_of_zeros() {
    let mut house = House::new("app.log");
    let all = lines(0, 20);
    // Without O_APPEND, as copytruncate hurts most.
    let mut writer = fs::File::create(house.path("app.log")).unwrap();
    writer.write_all(text(&all[..10]).as_bytes()).unwrap();
    house.start();
    house.expect_all(&all[..10]).await;
    writer.set_len(0).unwrap();
    writer.write_all(text(&all[10..]).as_bytes()).unwrap();
    house.expect_all(&all).await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_may_vanish_and_come_back() {
    let mut house = House::new("*/x.log");
    fs::create_dir(house.path("d")).unwrap();
    house.append("d/x.log", "one\n");
    house.start();
    house.expect(&["one"]).await;
    fs::remove_dir_all(house.path("d")).unwrap();
    house.until("the file is gone", |house| house.files().is_empty()).await;
    fs::create_dir(house.path("d")).unwrap();
    house.append("d/x.log", "two\n");
    house.expect(&["one", "two"]).await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_moves_on_to_another_file_is_followed() {
    let mut house = House::new("current.log");
    house.append("2026-01-01.data", "one\n");
    std::os::unix::fs::symlink(house.path("2026-01-01.data"), house.path("current.log")).unwrap();
    house.start();
    house.expect(&["one"]).await;
    house.append("2026-01-01.data", "two\n");
    house.append("2026-01-02.data", "three\n");
    fs::remove_file(house.path("current.log")).unwrap();
    std::os::unix::fs::symlink(house.path("2026-01-02.data"), house.path("current.log")).unwrap();
    house.expect(&["one", "two", "three"]).await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_may_not_be_read_says_so_and_does_not_stop_others() {
    let mut house = House::new("*.log");
    house.append("secret.log", "secret\n");
    let mode = |house: &House, mode| {
        fs::set_permissions(house.path("secret.log"), fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(&house, 0o000);
    if fs::read(house.path("secret.log")).is_ok() {
        // The superuser reads everything; what cannot be opened at all is a link to nowhere then, which matches nothing.
        mode(&house, 0o600);
        house.start();
        house.expect(&["secret"]).await;
        house.stop().await;
        return;
    }
    house.append("open.log", "open\n");
    house.start();
    house.expect(&["open"]).await;
    house
        .until("the state is told", |house| house.files().iter().any(|file| matches!(file.state, FileState::Failed(_))))
        .await;
    mode(&house, 0o600);
    house.expect(&["open", "secret"]).await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_files_that_begin_alike_are_both_read() {
    let mut house = House::new("*.log");
    house.append("svc-1.log", "started\n");
    house.append("svc-2.log", "started\n");
    house.append("other.log", "started\n");
    house.start();
    house.expect(&["started", "started", "started"]).await;
    house.stop().await;
}

/// Lines of equal length that end alike: what lies before the position is the same in both contents.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_file_that_outgrew_the_position_and_ends_alike_there_is_read_from_its_beginning() {
    for pattern in ["app.log", "app.log*"] {
        let lines = |from: usize, to: usize| -> Vec<String> {
            (from..to).map(|n| format!("{n:06} {}", "of the same service on the same machine ".repeat(3))).collect()
        };
        let mut house = House::new(pattern);
        let all = lines(0, 100);
        house.append("app.log", text(&all[..30]));
        house.start();
        house.expect_all(&all[..30]).await;
        // Nobody looks in between: what is heard is asked for a few times a second.
        house.copy_truncate("app.log", "app.log.1");
        house.append("app.log", text(&all[30..]));
        house.expect_all(&all).await;
        house.stop().await;
    }
}

/// `cp app.log app.log.1; : > app.log`, again and again: the copy is written over the one before, in place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_over_an_older_copy_is_not_read_again() {
    copied_over(&["app.log.1", "app.log.old", "app.log.bak"]).await;
}

/// A name that tells nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_any_name_over_an_older_copy_is_not_read_again() {
    copied_over(&["app.log-copy"]).await;
}

async fn copied_over(names: &[&str]) {
    for copy in names {
        for gap in [0, 150, 500] {
            println!("{copy}, {gap} ms");
            let mut house = House::new("app.log*");
            let all = lines(0, 120);
            house.start();
            for round in 0..4 {
                house.append("app.log", text(&all[round * 30..round * 30 + 30]));
                if round % 2 == 0 {
                    house.expect_all(&all[..round * 30 + 30]).await;
                }
                fs::copy(house.path("app.log"), house.path(copy)).unwrap();
                tokio::time::sleep(std::time::Duration::from_millis(gap)).await;
                fs::File::options().write(true).open(house.path("app.log")).unwrap().set_len(0).unwrap();
                house.expect_all(&all[..round * 30 + 30]).await;
            }
            tokio::time::sleep(house.config.pace.suspicion * 2).await;
            house.expect_all(&all).await;
            house.stop().await;
        }
    }
}

/// The copy was made before the last lines were written, which were read from the original before it was cut.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_lacks_the_last_lines_that_were_read_is_not_read_again() {
    for down in [false, true] {
        let mut house = House::new("app.log*");
        let all = lines(0, 400);
        house.start();
        for n in 0..30 {
            house.append("app.log", text(&all[n * 10..n * 10 + 10]));
            house.expect_all(&all[..n * 10 + 10]).await;
        }
        fs::copy(house.path("app.log"), house.path("app.log.1")).unwrap();
        house.append("app.log", text(&all[300..340]));
        house.expect_all(&all[..340]).await;
        if down {
            house.kill().await;
        }
        fs::File::options().write(true).open(house.path("app.log")).unwrap().set_len(0).unwrap();
        house.append("app.log", text(&all[340..]));
        if down {
            house.start();
        }
        house.expect_all(&all).await;
        tokio::time::sleep(house.config.pace.suspicion * 2).await;
        house.expect_all(&all).await;
        // What comes to the copy after that is news.
        house.append("app.log.1", "behind the copy\n");
        let more: Vec<String> = all.iter().cloned().chain(["behind the copy".to_owned()]).collect();
        house.expect_all(&more).await;
        house.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_renamed_to_any_name_while_the_agent_was_down_is_finished() {
    for pattern in ["app.log", "app.log*", "*.log"] {
        for name in ["app.log.old", "app.log.bak", "app.old", "saved by hand", "app-before.log"] {
            for kill in [false, true] {
                let mut house = House::new(pattern);
                let all = lines(0, 30);
                house.append("app.log", text(&all[..10]));
                house.start();
                house.expect_all(&all[..10]).await;
                if kill {
                    house.kill().await;
                } else {
                    house.stop().await;
                }
                house.append("app.log", text(&all[10..20]));
                house.rename("app.log", name);
                house.append("app.log", text(&all[20..]));
                house.start();
                house.expect_all(&all).await;
                assert_eq!(house.texts(), all, "{pattern} {name}");
                house.stop().await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_moved_out_of_the_directory_while_the_agent_was_down_is_counted_as_not_found() {
    let mut house = House::new("app.log");
    let all = lines(0, 20);
    house.append("app.log", text(&all[..10]));
    house.start();
    house.expect_all(&all[..10]).await;
    house.stop().await;
    fs::create_dir(house.path("archive")).unwrap();
    house.rename("app.log", "archive/app.log");
    house.append("app.log", text(&all[10..]));
    house.start();
    house.expect_all(&all).await;
    house
        .until("it is counted", |house| {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &house.metrics).unwrap();
            text.lines().any(|line| line.contains("\"not_found\"") && line.ends_with(" 1"))
        })
        .await;
    house.stop().await;
}

/// Nobody can open it again: what is unread of it is read before the process ends, whatever else there is to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_unread_of_a_removed_file_comes_before_a_stop_and_limits_do_not_hold_it_up() {
    for limited in [false, true] {
        let mut house = House::new("app.log");
        if limited {
            let rate = stages::GateRate { per_second: 50.0, burst: 10, drop: false };
            house.config.gate = Some(stages::LineGate::new(Some(rate), 0, stages::StageMetrics::unregistered()).into());
        }
        let mut all = lines(0, 5);
        house.append("app.log", text(&all));
        house.start();
        house.expect_all(&all).await;
        for round in 0..4 {
            let more = lines(1000 * round + 100, 1000 * round + 700);
            house.append("app.log", text(&more) + "half a line");
            fs::remove_file(house.path("app.log")).unwrap();
            all.extend(more);
            all.push("half a line".to_owned());
            let next = lines(1000 * round + 700, 1000 * round + 701);
            house.append("app.log", text(&next));
            all.extend(next);
            house.stop().await;
            house.start();
            // The new file is met, so that it is known when it goes.
            house.until("the new file is followed", |house| house.files().iter().any(|file| file.offset > 0)).await;
        }
        house.expect_all(&all).await;
        house.stop().await;
    }
}
