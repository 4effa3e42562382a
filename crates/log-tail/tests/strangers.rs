//! Another application's files beside a path that rotates: nobody's remainder, however much their names look like it.

mod support;

use std::{fs, io::Write, time::Duration};

use support::House;

/// Nothing more comes after whatever was held back had its time.
async fn only(house: &House, expected: &[&str]) {
    house.expect(expected).await;
    tokio::time::sleep(house.config.pace.suspicion * 2).await;
    house.expect(expected).await;
}

fn filenames(house: &House, text: &str) -> Vec<String> {
    let lines = house.lines().into_iter().filter(|line| line.text == text);
    lines.map(|line| line.labels.get("filename").unwrap_or_default().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_another_job_wants_is_read_by_that_job_alone() {
    for (mine, theirs, name) in [
        ("access.log", "access-8080.log", "access-8080.log"),
        ("access.log", "access-443.log", "access-443.log"),
        ("access.log", "access-2*.log", "access-2.log"),
        ("access.log", "access-2*.log", "access-20260131.log"),
        ("access.log", "access.log.5", "access.log.5"),
    ] {
        for down in [false, true] {
            let mut house = House::new(mine);
            house.others.push(("admin".into(), theirs.into()));
            house.append("access.log", "first of ours\n");
            house.start();
            house.expect(&["first of ours"]).await;
            if down {
                house.stop().await;
            }
            house.rename("access.log", "access.log.1");
            house.append(name, "admin 1\n");
            house.append("access.log", "second of ours\n");
            if down {
                house.start();
            }
            only(&house, &["first of ours", "second of ours", "admin 1"]).await;
            house.append(name, "admin 2\n");
            only(&house, &["first of ours", "second of ours", "admin 1", "admin 2"]).await;
            let path = house.path(name).display().to_string();
            assert_eq!(filenames(&house, "admin 1"), std::slice::from_ref(&path), "{theirs}");
            assert_eq!(filenames(&house, "admin 2"), [path], "{theirs}");
            house.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_no_job_asked_for_is_not_sent() {
    for name in ["access-8443.log", "access-443.log", "access-20260131.log"] {
        for down in [false, true] {
            let mut house = House::new("access.log");
            house.append("access.log", "first of ours\n");
            house.start();
            house.expect(&["first of ours"]).await;
            if down {
                house.stop().await;
            }
            house.rename("access.log", "access.log.1");
            house.append("access.log", "second of ours\n");
            // By more than the clocks of file systems lag behind.
            tokio::time::sleep(Duration::from_millis(300)).await;
            house.append(name, "private\n");
            if down {
                house.start();
            }
            only(&house, &["first of ours", "second of ours"]).await;
            house.append(name, "private too\n");
            only(&house, &["first of ours", "second of ours"]).await;
            house.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compressed_files_of_several_jobs_are_each_read_by_their_own() {
    let mut house = House::new("*.gz");
    house.job.decompression =
        Some(log_tail::Decompression { format: log_tail::Packing::Gzip, initial_delay: Default::default() });
    for ending in ["bz2", "z", "zst"] {
        house.others.push((ending.into(), format!("*.{ending}")));
    }
    let gzip = |text: &str| {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        out.write_all(text.as_bytes()).unwrap();
        out.finish().unwrap()
    };
    for ending in ["gz", "bz2", "z"] {
        house.append(&format!("a.{ending}"), gzip(&format!("of {ending}\n")));
    }
    house.start();
    house.expect(&["of gz", "of bz2", "of z"]).await;
    house.append("unfinished", gzip("of zst\n"));
    fs::rename(house.path("unfinished"), house.path("a.zst")).unwrap();
    only(&house, &["of gz", "of bz2", "of z", "of zst"]).await;
    house.stop().await;
}

/// What came and rotated away between two looks is read to its end; what is written to it long after that is not its path's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_found_beside_a_path_is_not_followed() {
    let mut house = House::new("app.log");
    house.append("app.log", "one\n");
    house.start();
    house.expect(&["one"]).await;
    house.stop().await;
    house.rename("app.log", "app.log.2");
    house.append("app.log", "two\n");
    house.rename("app.log", "app.log.1");
    house.append("app.log", "three\n");
    house.start();
    house.expect(&["one", "two", "three"]).await;
    for n in 0..40 {
        house.append("app.log.1", format!("a stranger's {n}\n"));
        tokio::time::sleep(house.config.pace.linger / 10).await;
    }
    assert!(!house.texts().contains(&"a stranger's 39".to_owned()), "{:?}", house.texts());
    house.stop().await;
}

/// A cluster that cannot be asked: what others may want is kept for it for a while, and no longer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_whose_discovery_says_nothing_holds_up_the_files_of_others_only_for_a_while() {
    let mut house = House::new("app.log");
    house.others.push(("cluster".into(), "pods-*.log".into()));
    house.append("app.log", "one\n");
    house.start();
    house.expect(&["one"]).await;
    house.stop().await;
    house.rename("app.log", "app.log.2");
    house.append("app.log", "two\n");
    house.rename("app.log", "app.log.1");
    house.append("app.log", "three\n");
    house.late = true;
    house.start();
    house.speak(None);
    house.expect(&["one", "two", "three"]).await;
    assert_eq!(house.texts(), ["one", "two", "three"]);
    house.append("app.log", "four\n");
    house.expect(&["one", "two", "three", "four"]).await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_a_slow_discovery_names_is_kept_for_its_job() {
    let mut house = House::new("access.log");
    house.config.pace.discovery = support::PATIENCE;
    house.others.push(("admin".into(), "access-2*.log".into()));
    house.append("access.log", "first of ours\n");
    house.start();
    house.expect(&["first of ours"]).await;
    house.stop().await;
    house.rename("access.log", "access.log.1");
    house.append("access-20260131.log", "admin 1\n");
    house.append("access.log", "second of ours\n");
    house.late = true;
    house.start();
    house.speak(None);
    house.until("a survey is over", |house| !house.files().is_empty()).await;
    tokio::time::sleep(house.config.pace.survey * 4).await;
    assert!(!house.texts().contains(&"admin 1".to_owned()));
    house.speak(Some(0));
    only(&house, &["first of ours", "second of ours", "admin 1"]).await;
    assert_eq!(filenames(&house, "admin 1"), [house.path("access-20260131.log").display().to_string()]);
    house.stop().await;
}

/// What was looked up last is not forgotten because a discovery begins with an empty list.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_and_rotated_while_the_agent_was_down_is_read_when_discovery_speaks_late() {
    let mut house = House::new("app.log");
    house.start();
    house.until("the pattern was looked up", |house| house.has_looked()).await;
    house.stop().await;
    house.append("app.log", "came and went\n");
    house.rename("app.log", "app.log.1");
    house.append("app.log", "second\n");
    house.late = true;
    house.start();
    // Long enough for surveys and for positions to be written down.
    tokio::time::sleep(house.config.pace.survey * 4).await;
    house.speak(None);
    house.expect(&["came and went", "second"]).await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_another_route_wants_is_read_by_that_route_alone() {
    for (mine, theirs, name) in [
        ("access.log", "access-2*.log", "access-20260131.log"),
        ("access.log", "access.log.5", "access.log.5"),
        ("access.log", "access-443.log", "access-443.log"),
    ] {
        let mut house = House::new(mine);
        let mut other = house.beside("other", theirs);
        house.append("access.log", "first of ours\n");
        house.start();
        house.expect(&["first of ours"]).await;
        house.stop().await;
        house.rename("access.log", "access.log.1");
        house.append(name, "admin 1\n");
        house.append("access.log", "second of ours\n");
        // As one process starts them: all are announced before any reads.
        house.config.readership.expect("other");
        house.start();
        other.start();
        only(&house, &["first of ours", "second of ours"]).await;
        only(&other, &["admin 1"]).await;
        house.append(name, "admin 2\n");
        only(&other, &["admin 1", "admin 2"]).await;
        only(&house, &["first of ours", "second of ours"]).await;
        house.stop().await;
        other.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_routes_and_two_jobs_that_read_one_file_each_keep_a_position_of_their_own() {
    let mut house = House::new("app.log");
    house.others.push(("second".into(), "app.*".into()));
    let mut other = house.beside("other", "*.log*");
    let twice = |texts: &[&'static str]| -> Vec<&'static str> { texts.iter().chain(texts).copied().collect() };
    house.append("app.log", "one\n");
    house.start();
    other.start();
    house.expect(&twice(&["one"])).await;
    other.expect(&["one"]).await;
    // One of them is away while it rotates.
    other.stop().await;
    house.append("app.log", "two\n");
    house.expect(&twice(&["one", "two"])).await;
    house.rename("app.log", "app.log.1");
    house.append("app.log", "three\n");
    house.expect(&twice(&["one", "two", "three"])).await;
    other.start();
    only(&other, &["one", "two", "three"]).await;
    house.kill().await;
    house.append("app.log", "four\n");
    house.start();
    only(&house, &twice(&["one", "two", "three", "four"])).await;
    only(&other, &["one", "two", "three", "four"]).await;
    house.stop().await;
    other.stop().await;
}
