//! The fast way and the slow way give the same samples, and both give what the rules of Prometheus say.
//!
//! Bodies change from scrape to scrape the way targets change, and worse. Three readers look at each: a warm cache
//! that recognises lines, a cache that parses every line anew, and a few lines of maps that never saw a parser.

mod cache_support;

use std::collections::{BTreeMap, BTreeSet};

use cache_support::{STALE, Sample, Target, config};
use proptest::prelude::*;
use scrape::{CacheConfig, Format, Ingested};

/// One line of a body.
#[derive(Debug, Clone)]
enum Line {
    Sample { id: u16, value: u32, time: Option<i64>, flipped: bool },
    Comment(u8),
    Broken,
}

#[derive(Debug, Clone)]
enum Change {
    Remove(usize),
    Insert(usize, Line),
    Swap(usize, usize),
    Rotate(usize),
    Repeat(usize),
    Values(u32),
    Time(usize, Option<i64>),
    Flip(usize),
}

#[derive(Debug, Clone)]
enum Event {
    Scrape(Vec<Change>),
    Empty,
    Failure,
}

fn any_line() -> impl Strategy<Value = Line> {
    prop_oneof![
        12 => (0u16..60, 0u32..100_000, any_time(), any::<bool>())
            .prop_map(|(id, value, time, flipped)| Line::Sample { id, value, time, flipped }),
        4 => (0u8..12).prop_map(Line::Comment),
        1 => Just(Line::Broken),
    ]
}

fn any_time() -> impl Strategy<Value = Option<i64>> {
    prop_oneof![6 => Just(None), 1 => (0i64..5).prop_map(Some), 1 => Just(Some(10_000_000))]
}

fn any_change() -> impl Strategy<Value = Change> {
    let at = || 0usize..80;
    prop_oneof![
        at().prop_map(Change::Remove),
        (at(), any_line()).prop_map(|(at, line)| Change::Insert(at, line)),
        (at(), at()).prop_map(|(a, b)| Change::Swap(a, b)),
        at().prop_map(Change::Rotate),
        at().prop_map(Change::Repeat),
        any::<u32>().prop_map(Change::Values),
        (at(), any_time()).prop_map(|(at, time)| Change::Time(at, time)),
        at().prop_map(Change::Flip),
    ]
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        12 => proptest::collection::vec(any_change(), 0..8).prop_map(Event::Scrape),
        1 => Just(Event::Empty),
        1 => Just(Event::Failure),
    ]
}

fn apply(body: &mut Vec<Line>, change: &Change) {
    let place = |at: usize| at % body.len().max(1);
    match change {
        Change::Insert(at, line) => {
            let at = at % (body.len() + 1);
            body.insert(at, line.clone());
        }
        _ if body.is_empty() => {}
        Change::Remove(at) => drop(body.remove(place(*at))),
        Change::Swap(a, b) => {
            let (a, b) = (place(*a), place(*b));
            body.swap(a, b);
        }
        Change::Rotate(by) => {
            let by = place(*by);
            body.rotate_left(by);
        }
        Change::Repeat(at) => {
            let line = body[place(*at)].clone();
            body.push(line);
        }
        Change::Values(seed) => {
            for (line, at) in body.iter_mut().zip(0u32..) {
                if let Line::Sample { value, .. } = line {
                    *value = value.wrapping_add(seed.rotate_left(at) % 7) % 1_000_000;
                }
            }
        }
        Change::Time(at, to) => {
            let at = place(*at);
            if let Line::Sample { time, .. } = &mut body[at] {
                *time = *to;
            }
        }
        Change::Flip(at) => {
            let at = place(*at);
            if let Line::Sample { flipped, .. } = &mut body[at] {
                *flipped = !*flipped;
            }
        }
    }
}

fn value_of(value: u32) -> f64 {
    // Integers, decimals, and a few odd ones.
    match value % 5 {
        0 => f64::from(value),
        1 | 2 => f64::from(value) / 10.0,
        3 => -f64::from(value) / 1000.0,
        _ => f64::INFINITY,
    }
}

fn write(body: &[Line]) -> String {
    let mut text = String::new();
    for line in body {
        match line {
            Line::Sample { id, value, time, flipped } => {
                let (a, b) = (format!("g=\"{}\"", id % 3), format!("i=\"{id}\""));
                let (a, b) = if *flipped { (b, a) } else { (a, b) };
                text.push_str(&format!("m{}{{{a},{b}}} {}", id % 4, value_of(*value)).replace("inf", "+Inf"));
                if let Some(time) = time {
                    text.push_str(&format!(" {time}"));
                }
                text.push('\n');
            }
            Line::Comment(n) => text.push_str(match n % 12 {
                0 => "# HELP m0 zero\n",
                1 => "# TYPE m0 gauge\n",
                2 => "# HELP m1 one\n# TYPE m1 counter\n",
                3 => "# TYPE m1 gauge\n",
                4 => "# a remark\n",
                5 => "\n",
                6 => "# HELP m2 two\n",
                7 => "# HELP m2 other words\n",
                8 => "#\n",
                9 => "  # HELP m3 three\n",
                10 => "# TYPE m3 untyped\n",
                _ => " \n",
            }),
            Line::Broken => text.push_str("m1{i=\"1\" 5\n"),
        }
    }
    text
}

fn name_of(id: u16) -> String {
    format!("m{}{{g=\"{}\",i=\"{id}\"}}", id % 4, id % 3)
}

/// The rules, without a parser.
#[derive(Default)]
struct Rules {
    known: BTreeSet<String>,
    tracked: BTreeSet<String>,
}

impl Rules {
    fn fail(&mut self, ts: i64) -> Vec<Sample> {
        std::mem::take(&mut self.tracked).into_iter().map(|series| (series, ts, STALE)).collect()
    }

    fn scrape(&mut self, body: &[Line], empty: bool, ts: i64) -> Result<(Ingested, Vec<Sample>), ()> {
        let mut counts = Ingested::default();
        let mut samples: BTreeMap<String, Vec<(i64, u64)>> = BTreeMap::new();
        let mut tracked = BTreeSet::new();
        let mut last_repeat: Option<(String, i64)> = None;
        for line in body {
            let Line::Sample { id, value, time, .. } = line else {
                if matches!(line, Line::Broken) {
                    return Err(());
                }
                continue;
            };
            counts.scraped += 1;
            counts.post_relabel += 1;
            let series = name_of(*id);
            let at = time.unwrap_or(ts);
            let before = samples.get(&series);
            if let Some(before) = before {
                let again = last_repeat.as_ref().is_some_and(|(s, t)| *s == series && *t == at);
                if time.is_none() || before[0].0 == at || again {
                    counts.duplicates += 1;
                    continue;
                }
            }
            if time.is_some_and(|time| time > ts + 600_000) {
                counts.out_of_bounds += 1;
                continue;
            }
            if before.is_some() {
                last_repeat = Some((series.clone(), at));
            } else if time.is_none() {
                tracked.insert(series.clone());
            }
            samples.entry(series).or_default().push((at, value_of(*value).to_bits()));
        }
        let now: BTreeSet<String> = samples.keys().cloned().collect();
        counts.added = now.difference(&self.known).count() as u32;
        for gone in self.tracked.difference(&tracked) {
            samples.entry(gone.clone()).or_default().push((ts, STALE));
        }
        self.tracked = tracked;
        if !empty {
            self.known = now;
        }
        let samples = samples.into_iter().flat_map(|(s, all)| all.into_iter().map(move |(t, v)| (s.clone(), t, v)));
        Ok((counts, samples.collect()))
    }
}

/// What the comments say of the series of the body: by name, the last word counts.
fn families_of(body: &[Line]) -> BTreeMap<String, String> {
    let mut said: BTreeMap<&str, (&str, &str)> = BTreeMap::new();
    for line in body {
        let Line::Comment(n) = line else { continue };
        let mut say = |name, kind: Option<&'static str>, help: Option<&'static str>| {
            let family = said.entry(name).or_insert(("unknown", ""));
            family.0 = kind.unwrap_or(family.0);
            family.1 = help.unwrap_or(family.1);
        };
        match n % 12 {
            0 => say("m0", None, Some("zero")),
            1 => say("m0", Some("gauge"), None),
            2 => say("m1", Some("counter"), Some("one")),
            3 => say("m1", Some("gauge"), None),
            6 => say("m2", None, Some("two")),
            7 => say("m2", None, Some("other words")),
            9 => say("m3", None, Some("three")),
            10 => say("m3", Some("unknown"), None),
            _ => {}
        }
    }
    let ids = body.iter().filter_map(|line| if let Line::Sample { id, .. } = line { Some(*id) } else { None });
    ids.map(|id| {
        let name = format!("m{}", id % 4);
        let family = said.get(name.as_str()).map(|(kind, help)| format!("{name} {kind} {help:?} \"\""));
        (name_of(id), family.unwrap_or_else(|| " unknown \"\" \"\"".into()))
    })
    .collect()
}

fn compare(events: &[Event], start: Vec<Line>) -> Result<(), TestCaseError> {
    let (mut fast, mut slow, mut rules) = (Target::plain(), Target::unrecognising(config()), Rules::default());
    let mut body = start;
    for (event, step) in events.iter().zip(1i64..) {
        let ts = 1000 + step;
        if matches!(event, Event::Failure) {
            let expected = rules.fail(ts);
            for target in [&mut fast, &mut slow] {
                target.cache.fail(ts);
                prop_assert_eq!(target.batch(&[]), expected.clone());
            }
            continue;
        }
        let empty = matches!(event, Event::Empty);
        if let Event::Scrape(changes) = event {
            // A fault stays for one scrape.
            body.retain(|line| !matches!(line, Line::Broken));
            changes.iter().for_each(|change| apply(&mut body, change));
        }
        let lines: &[Line] = if empty { &[] } else { &body };
        let text = write(lines);
        let (fast_outcome, fast_samples) = fast.scrape(&text, ts);
        let (slow_outcome, slow_samples) = slow.scrape(&text, ts);
        prop_assert_eq!(&fast_outcome, &slow_outcome, "step {}:\n{}", step, text);
        prop_assert_eq!(&fast_samples, &slow_samples, "step {}:\n{}", step, text);
        match rules.scrape(lines, text.is_empty(), ts) {
            Ok((counts, samples)) => {
                prop_assert_eq!(fast_outcome, Ok(counts), "step {}:\n{}", step, text);
                prop_assert_eq!(fast_samples, samples, "step {}:\n{}", step, text);
                if !text.is_empty() {
                    let expected = families_of(lines);
                    for target in [&mut fast, &mut slow] {
                        for (series, family) in current_families(target) {
                            prop_assert_eq!(
                                Some(&family),
                                expected.get(&series),
                                "{} in step {}:\n{}",
                                series,
                                step,
                                text
                            );
                        }
                    }
                }
            }
            Err(()) => {
                prop_assert!(fast_outcome.is_err(), "step {}:\n{}", step, text);
                prop_assert_eq!(fast_samples, rules.fail(ts));
            }
        }
    }
    Ok(())
}

/// Families of the series that the batch has samples of, markers aside: a dead series may keep what it had.
fn current_families(target: &mut Target) -> BTreeMap<String, String> {
    let alive: BTreeSet<String> =
        target.batch(&[]).into_iter().filter(|(_, _, value)| *value != STALE).map(|(series, _, _)| series).collect();
    target.families().into_iter().filter(|(series, _)| alive.contains(series)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_warm_cache_a_parser_and_the_rules_agree(
        start in proptest::collection::vec(any_line(), 0..60),
        events in proptest::collection::vec(any_event(), 1..14),
    ) {
        compare(&events, start)?;
    }
}

/// Churn over many chunks: growth, decay, merging of small chunks, all with the rules looking on.
#[test]
fn large_targets_that_churn_agree_with_the_rules() {
    for seed in 1..=3 {
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut fast, mut slow, mut rules) = (Target::plain(), Target::unrecognising(config()), Rules::default());
        let mut alive: Vec<u16> = (0..1500).collect();
        let mut fresh = 1500u16;
        for step in 0..70i64 {
            let ts = 1000 + step;
            match random.u8(..10) {
                0 => alive.retain(|_| random.u8(..10) != 0),
                1 => alive.extend(std::iter::repeat_with(|| (fresh += 1, fresh).1).take(200)),
                2 => {
                    let at = random.usize(..alive.len());
                    alive.rotate_left(at);
                }
                _ => {
                    for _ in 0..random.usize(..12) {
                        let at = random.usize(..alive.len());
                        alive.remove(at);
                        fresh += 1;
                        alive.insert(random.usize(..=alive.len()), fresh);
                    }
                }
            }
            let body: Vec<Line> = alive
                .iter()
                .map(|id| Line::Sample { id: *id, value: u32::from(*id) + step as u32, time: None, flipped: false })
                .collect();
            if random.u8(..20) == 0 {
                let expected = rules.fail(ts);
                for target in [&mut fast, &mut slow] {
                    target.cache.fail(ts);
                    assert_eq!(target.batch(&[]), expected);
                }
                continue;
            }
            let text = write(&body);
            let (counts, samples) = rules.scrape(&body, false, ts).expect("a right body");
            for target in [&mut fast, &mut slow] {
                let (outcome, found) = target.scrape(&text, ts);
                assert_eq!(outcome.expect("a right body"), counts, "seed {seed} step {step}");
                assert!(found == samples, "seed {seed} step {step}");
            }
        }
    }
}

/// Bytes that look like an exposition now and then.
fn any_body() -> impl Strategy<Value = Vec<u8>> {
    const TOKENS: &[&[u8]] = &[
        b"m",
        b"{",
        b"}",
        b"a",
        b"=",
        b"\"",
        b",",
        b" ",
        b" 1",
        b"\n",
        b"# TYPE m gauge\n",
        b"# HELP m x\n",
        b"# EOF\n",
        b"\\",
        b" # {",
        b"\t",
        b"m{a=\"b\"} 1\n",
        b"m 1 5\n",
        b"\xff",
        b"0x1p-2",
        b"NaN",
        b"#",
        b"\0",
        b"x 1\n",
        b"y{b=\"c\"} 2\n",
    ];
    let token = proptest::sample::select(TOKENS);
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..200),
        proptest::collection::vec(token, 0..60).prop_map(|tokens| tokens.concat()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_taken_or_refused_alike_and_within_bounds(
        bodies in proptest::collection::vec(any_body(), 1..6),
        strict: bool,
    ) {
        let format = if strict { Format::OpenMetrics1 } else { Format::Text004 };
        let limits = scrape::Limits { labels: 4, label_value_length: 50, ..Default::default() };
        let config = || CacheConfig { limits, ..config() };
        let mut fast = Target { format, ..Target::new(config()) };
        let mut slow = Target { format, ..Target::unrecognising(config()) };
        let mut size = 0;
        for (body, ts) in bodies.iter().chain(&bodies).zip(1i64..) {
            size += body.len();
            prop_assert_eq!(fast.scrape(body, ts), slow.scrape(body, ts));
            prop_assert!(fast.cache.heap_bytes() < 64 * 1024 + 400 * size);
        }
    }
}

#[test]
fn open_metrics_with_exemplars_and_timestamps_agree_scrape_after_scrape() {
    let mut fast = Target::open_metrics();
    let mut slow = Target { format: Format::OpenMetrics1, ..Target::unrecognising(config()) };
    for step in 0..6i64 {
        let exemplar = if step % 2 == 0 { "" } else { " # {trace_id=\"a b} c\"} 0.5 1.5" };
        let time = if step % 3 == 0 { String::new() } else { format!(" 0.{step}") };
        let body = format!(
            "# TYPE h histogram\n# UNIT h \nh_bucket{{le=\"1.0\"}} {step}{exemplar}\nh_bucket{{le=\"+Inf\"}} {step}{time}{exemplar}\n\
             h_count {step}{time}\n# TYPE g gauge\n# HELP g step {}\ng{{a=\"\\\"}} 1\"}} {step}.5\n# EOF\n",
            step / 2
        );
        let ts = 1000 + step;
        let (outcome, samples) = fast.scrape(&body, ts);
        assert_eq!((outcome.clone(), samples.clone()), slow.scrape(&body, ts), "{body}");
        let counts = outcome.expect("a right body");
        assert_eq!((counts.scraped, counts.duplicates), (4, 0));
        let values = samples.iter().filter(|(_, _, value)| *value != STALE).count();
        assert_eq!(values, 4);
        assert_eq!(fast.families(), slow.families());
        // What was recognised must not outlive its end mark.
        assert!(fast.scrape(body.replace("# EOF\n", ""), ts).0.is_err());
        assert!(slow.scrape(body.replace("# EOF\n", ""), ts).0.is_err());
    }
}
