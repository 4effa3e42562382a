//! Mistakes of this program on request, and what becomes of the lines then. For tests alone.
//!
//! Keeps true: a line that strikes does so as often as asked for, whichever reader has it.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use stages::{StageConfig, config::MultilineConfig};

use crate::{FileState, support::House};

const STRIKES: &str = "STRIKES";

static LEFT: AtomicU32 = AtomicU32::new(0);

/// Called with each line as a reader takes it.
pub(crate) fn strike(line: &[u8]) {
    if line.windows(STRIKES.len()).any(|part| part == STRIKES.as_bytes())
        && LEFT.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
    {
        panic!("this line strikes");
    }
}

fn panics(house: &House) -> bool {
    let mut page = String::new();
    prometheus_client::encoding::text::encode(&mut page, &house.metrics).unwrap();
    page.contains("sigpost_tail_panics_total{logs_config=\"default\"} 3")
}

/// One test, since mistakes are counted for the whole process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_mistake_in_the_midst_of_a_turn_every_line_comes_once() {
    for with_stages in [false, true] {
        let mut house = House::new("*.log");
        if with_stages {
            // What was held before the mistake is read again, and goes on with what follows it.
            house.job.stages.stages = vec![StageConfig::Multiline(MultilineConfig {
                firstline: r"^\S".into(),
                max_wait_time: Some(Duration::from_secs(5)),
                max_lines: None,
            })];
        }
        let mut expected = vec!["one".to_owned()];
        house.append("app.log", "one\ntwo\n  of two\n");
        house.start();
        if !with_stages {
            expected.extend(["two", "  of two"].map(str::to_owned));
        }
        house.expect_all(&expected).await;
        house.until("it was read", |house| house.files().iter().any(|file| file.offset == 17)).await;

        LEFT.store(3, Ordering::SeqCst);
        house.append("app.log", "  more of two\nthree\n  STRIKES\nfour\n");
        house
            .until("it is told", |house| house.files().iter().any(|file| matches!(file.state, FileState::Failed(_))))
            .await;
        // Others are read meanwhile, by the same threads.
        house.append("other.log", "another's\nand more\n");
        expected = match with_stages {
            true => ["one", "two\n  of two\n  more of two", "three\n  STRIKES"].map(str::to_owned).to_vec(),
            false => ["one", "two", "  of two", "  more of two", "three", "  STRIKES"].map(str::to_owned).to_vec(),
        };
        expected.extend(["four", "another's", "and more"].map(str::to_owned));
        house.expect_all(&expected).await;
        house
            .until("it is followed again", |house| house.files().iter().all(|file| file.state == FileState::Following))
            .await;
        assert!(panics(&house));

        house.append("app.log", "five\n");
        house.kill().await;
        house.start();
        expected.push("five".to_owned());
        house.expect_all(&expected).await;
        house.stop().await;
    }
}
