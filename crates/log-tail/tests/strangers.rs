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
