//! Files with several names, and names that lead to several files in turn, as Kubernetes has them.

mod support;

use std::{
    fs,
    os::unix::fs::{MetadataExt, symlink},
};

use support::House;

/// Lines long enough that heads differ, as those of real logs do.
fn lines(from: usize, to: usize) -> Vec<String> {
    (from..to).map(|n| format!("line {n} of this test, with some text behind it")).collect()
}

fn text(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// `containers/app.log` leads to `pods/0.log`, which the kubelet rotates and compresses in its own directory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_s_log_is_followed_behind_its_link_through_rotation_and_compression() {
    for down in [false, true] {
        let mut house = House::new("containers/*.log");
        // Killed before positions were written down, only the queue knows them.
        house.config.positions.sync_period = std::time::Duration::from_secs(if down { 3600 } else { 1 });
        fs::create_dir(house.path("containers")).unwrap();
        fs::create_dir(house.path("pods")).unwrap();
        let all = lines(0, 60);
        house.append("pods/0.log", text(&all[..10]));
        symlink(house.path("pods/0.log"), house.path("containers/app.log")).unwrap();
        house.start();
        house.expect_all(&all[..10]).await;
        if down {
            house.kill().await;
        }
        house.append("pods/0.log", text(&all[10..20]));
        house.rename("pods/0.log", "pods/0.log.20260131-120000");
        house.append("pods/0.log.20260131-120000", text(&all[20..30]));
        house.append("pods/0.log", text(&all[30..40]));
        if !down {
            house.expect_all(&all[..40]).await;
        }
        // The kubelet compresses a file at the rotation after its own.
        house.compress("pods/0.log.20260131-120000");
        house.append("pods/0.log", text(&all[40..50]));
        house.rename("pods/0.log", "pods/0.log.20260131-120500");
        house.append("pods/0.log", text(&all[50..]));
        if down {
            house.start();
        }
        house.expect_all(&all).await;
        let filename = house.path("containers/app.log").display().to_string();
        assert!(house.lines().iter().all(|line| line.labels.get("filename") == Some(&filename)));
        tokio::time::sleep(house.config.pace.suspicion * 2).await;
        house.expect_all(&all).await;
        house.stop().await;
    }
}

/// A container that restarts writes to `1.log`, and its link leads there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_moves_on_while_the_agent_is_down_loses_nothing_of_either_file() {
    let mut house = House::new("containers/*.log");
    fs::create_dir(house.path("containers")).unwrap();
    fs::create_dir(house.path("pods")).unwrap();
    let all = lines(0, 30);
    house.append("pods/0.log", text(&all[..10]));
    symlink(house.path("pods/0.log"), house.path("containers/app.log")).unwrap();
    house.start();
    house.expect_all(&all[..10]).await;
    house.kill().await;
    house.append("pods/0.log", text(&all[10..20]));
    house.append("pods/1.log", text(&all[20..]));
    fs::remove_file(house.path("containers/app.log")).unwrap();
    symlink(house.path("pods/1.log"), house.path("containers/app.log")).unwrap();
    house.start();
    house.expect_all(&all).await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_names_of_one_file_are_read_once() {
    for soft in [false, true] {
        let mut house = House::new("*.log");
        let all = lines(0, 30);
        house.append("a.log", text(&all[..10]));
        if soft {
            symlink(house.path("a.log"), house.path("b.log")).unwrap();
        } else {
            fs::hard_link(house.path("a.log"), house.path("b.log")).unwrap();
        }
        house.start();
        house.expect_all(&all[..10]).await;
        house.append("b.log", text(&all[10..20]));
        house.expect_all(&all[..20]).await;
        if !soft {
            // The first name goes, the file stays.
            fs::remove_file(house.path("a.log")).unwrap();
        }
        house.kill().await;
        house.append("b.log", text(&all[20..]));
        house.start();
        house.expect_all(&all).await;
        tokio::time::sleep(house.config.pace.suspicion).await;
        house.expect_all(&all).await;
        house.stop().await;
    }
}

/// Rotation by a hard link: the old file is there under both names for a moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_rotated_by_a_hard_link_is_finished() {
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
            fs::hard_link(house.path("app.log"), house.path("app.log.1")).unwrap();
            house.append("app.log", text(&all[10..20]));
            fs::remove_file(house.path("app.log")).unwrap();
            house.append("app.log", text(&all[20..]));
            if down {
                house.start();
            }
            house.expect_all(&all).await;
            tokio::time::sleep(house.config.pace.suspicion).await;
            house.expect_all(&all).await;
            house.stop().await;
        }
    }
}

/// The number of a deleted file is given to the next one on many file systems.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_file_under_the_same_inode_is_read_from_its_beginning() {
    let mut house = House::new("*.log");
    let all = lines(0, 60);
    house.append("a.log", text(&all[..10]));
    house.start();
    house.expect_all(&all[..10]).await;
    house.kill().await;
    let inode = fs::metadata(house.path("a.log")).unwrap().ino();
    fs::remove_file(house.path("a.log")).unwrap();
    let mut others = Vec::new();
    let mut reused = false;
    // Some file systems give the number out at once, some later, some never.
    for n in 0..200 {
        let name = format!("other-{n}");
        house.append(&name, text(&all[10..]));
        if fs::metadata(house.path(&name)).unwrap().ino() == inode {
            house.rename(&name, "a.log");
            reused = true;
            break;
        }
        others.push(name);
    }
    if !reused {
        let last = others.pop().unwrap();
        house.rename(&last, "a.log");
    }
    house.start();
    house.expect_all(&all).await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_was_cut_below_its_position_is_read_from_its_beginning() {
    // Cut to a part of what was read, and to nothing; by a writer that goes on where the file ends.
    for keep in [0, 3] {
        for down in [false, true] {
            let mut house = House::new("*.log");
            let all = lines(0, 30);
            house.append("a.log", text(&all[..10]));
            house.start();
            house.expect_all(&all[..10]).await;
            if down {
                house.kill().await;
            }
            let file = fs::File::options().write(true).open(house.path("a.log")).unwrap();
            file.set_len(text(&all[..keep]).len() as u64).unwrap();
            if down {
                house.append("a.log", text(&all[10..]));
                house.start();
            } else {
                let anew = all[..10].iter().chain(&all[..keep]).cloned().collect::<Vec<_>>();
                house.expect_all(&anew).await;
                house.append("a.log", text(&all[10..]));
            }
            // What stands there is what is read: a file that was cut is another content, its remaining lines too.
            let expected: Vec<String> = all[..10].iter().chain(&all[..keep]).chain(&all[10..]).cloned().collect();
            house.expect_all(&expected).await;
            house.stop().await;
        }
    }
}
