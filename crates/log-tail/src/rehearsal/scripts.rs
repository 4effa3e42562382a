//! Copies that are cut, with older copies moved or copied on, and kills between all of that: every line that was whole in a
//! file when that was copied comes, without waiting, and once.
//!
//! `REHEARSALS` sets the number of random cases (120 if it is not set), `REHEARSAL_SEED` repeats one; its steps are told then.
//! `REHEARSALS_TO_THE_END` waits in each case for what only comes when nobody stops the process.

use super::{Act, LIVE, Rehearsal, Step};

const COPIES: [&str; 5] = [LIVE, "app.log.1", "app.log.2", "app.log.3", "app.log.4"];

/// What happens between two steps in random cases. Kills are many.
const ACTS: [Act; 21] = [
    Act::Nothing,
    Act::Nothing,
    Act::Nothing,
    Act::Survey,
    Act::Bite,
    Act::Meal,
    Act::Gorge,
    Act::Settle,
    Act::Crash,
    Act::CrashSurvey,
    Act::CrashBite,
    Act::CrashBite,
    Act::CrashMeal,
    Act::CrashMeal,
    Act::Take,
    Act::Chew,
    Act::Return,
    Act::Persist,
    Act::PersistHalf,
    Act::Hear,
    Act::Sync,
];

#[derive(Debug, Clone, Copy)]
struct Habits {
    /// Older copies are renamed, or copied.
    moving: bool,
    /// Copies are seen half made.
    halves: bool,
    /// Lines that are written between the copy and the cut.
    between: usize,
    copies: usize,
}

impl Habits {
    fn rotation(self) -> Vec<Step> {
        let mut steps = Vec::new();
        for n in (0..self.copies).rev() {
            let (from, to) = (COPIES[n], COPIES[n + 1]);
            if n > 0 && self.moving {
                steps.push(Step::Move(from, to));
                continue;
            }
            if self.halves {
                steps.push(Step::CopyHalf(from, to));
            }
            steps.push(Step::Copy(from, to));
        }
        if self.between > 0 {
            steps.push(Step::Append(self.between));
        }
        steps.push(Step::Cut);
        steps
    }
}

struct Case {
    rehearsal: Rehearsal,
    told: Vec<String>,
}

impl Case {
    fn new(name: String, appetite: usize) -> Self {
        Self::of("*", name, appetite)
    }

    fn of(pattern: &str, name: String, appetite: usize) -> Self {
        Self { rehearsal: Rehearsal::new(pattern, appetite), told: vec![name] }
    }

    fn write(&mut self, step: Step) {
        self.told.push(format!("{step:?}"));
        self.rehearsal.write(step);
    }

    fn act(&mut self, act: Act) {
        if act != Act::Nothing {
            self.told.push(format!("    {act:?}"));
        }
        self.rehearsal.act(act);
    }

    /// The step happens at that moment of the act, or behind it.
    fn act_while(&mut self, act: Act, moment: usize, step: Step) {
        self.told.push(format!("    {act:?}, at moment {moment} of it {step:?}"));
        let struck = self.rehearsal.at_moment(moment, vec![step]);
        self.rehearsal.act(act);
        if !struck.replace(true) {
            self.rehearsal.write(step);
        }
    }

    /// Fails if a line is missing or had to wait; gives the lines that came twice.
    fn end(self, to_the_end: bool) -> (Vec<usize>, String) {
        let files = self.rehearsal.files();
        let outcome = self.rehearsal.end(to_the_end);
        let told = format!("{}\nfiles: {files}\n{outcome:?}", self.told.join("\n"));
        assert!(outcome.missing.is_empty(), "lines are lost\n{told}");
        assert!(outcome.late.is_empty(), "lines wait for time to pass\n{told}");
        (outcome.doubled, told)
    }
}

fn all_habits() -> Vec<Habits> {
    let mut all = Vec::new();
    for moving in [true, false] {
        for (halves, between) in [(true, 0), (false, 7), (true, 40)] {
            all.push(Habits { moving, halves, between, copies: 2 });
        }
    }
    all
}

/// Two rotations, and one kill behind every step in turn: before the process saw the step, after it surveyed, after it read
/// and nothing of that was durable, after half of it was.
#[test]
fn a_kill_behind_any_step_of_a_rotation_loses_and_doubles_nothing() {
    for habits in all_habits() {
        let mut steps = vec![Step::Append(80)];
        steps.extend(habits.rotation());
        steps.push(Step::Append(60));
        steps.extend(habits.rotation());
        steps.push(Step::Append(50));
        for at in 0..steps.len() {
            let before = [&[][..], &[Act::Survey], &[Act::Gorge], &[Act::Gorge, Act::PersistHalf]];
            for (number, before) in before.into_iter().enumerate() {
                let after = [Act::Crash, Act::CrashSurvey, Act::CrashBite, Act::CrashMeal][(at + number) % 4];
                let appetite = if (at + number) % 2 == 0 { 1500 } else { 512 << 10 };
                let mut case = Case::new(format!("{habits:?}, killed behind step {at}"), appetite);
                for (n, step) in steps.iter().enumerate() {
                    case.write(*step);
                    if n < at {
                        case.act(Act::Meal);
                    } else if n == at {
                        before.iter().chain([&after]).for_each(|act| case.act(*act));
                    }
                }
                let (doubled, told) = case.end(at % 5 == 0 && number == 0);
                assert!(doubled.is_empty(), "lines come twice\n{told}");
            }
        }
    }
}

/// The first remainder is neither finished nor lost by further kills and rotations.
#[test]
fn kills_one_after_another_while_a_remainder_is_read_lose_and_double_nothing() {
    for habits in all_habits() {
        for kills in 1..=3 {
            for rotations in 0..=2 {
                // A batch is some thirty lines: a remainder takes several.
                let name = format!("{habits:?}, {kills} kills at a time, {rotations} rotations before it is finished");
                let mut case = Case::new(name, 1500);
                let habits = Habits { copies: 4, ..habits };
                case.write(Step::Append(60));
                case.act(Act::Meal);
                case.write(Step::Append(150));
                for rotation in 0..=rotations {
                    for step in habits.rotation() {
                        case.write(step);
                    }
                    case.write(Step::Append(90 + 20 * rotation));
                    for kill in 0..kills {
                        case.act(if kill % 2 == 0 { Act::CrashMeal } else { Act::CrashBite });
                    }
                    case.act(Act::PersistHalf);
                }
                case.act(Act::Crash);
                let (doubled, told) = case.end(rotations == 1);
                assert!(doubled.is_empty(), "lines come twice\n{told}");
            }
        }
    }
}

/// A copy that lacks the last lines that were read has nothing in it that is news, whichever process looks at it: what came
/// after it does not wait until that is certain. It did, and a process that was killed every few seconds, or whose files
/// rotated as often, read nothing of that family until it was too late.
#[test]
fn nothing_waits_for_a_copy_that_lacks_the_last_lines_that_were_read() {
    for killed in [false, true] {
        for reads in [1, 4] {
            let mut case = Case::new(format!("read in {reads} pieces, killed: {killed}"), 512 << 10);
            for _ in 0..reads {
                case.write(Step::Append(60));
                case.act(Act::Settle);
            }
            case.write(Step::Copy(LIVE, COPIES[1]));
            case.write(Step::Append(20));
            case.act(Act::Settle);
            case.write(Step::Cut);
            case.write(Step::Append(50));
            if killed {
                case.act(Act::Crash);
            }
            case.act(Act::Settle);
            case.write(Step::Move(COPIES[1], COPIES[2]));
            case.write(Step::Move(LIVE, COPIES[1]));
            case.write(Step::Append(30));
            case.act(Act::Settle);
            let (doubled, told) = case.end(true);
            assert!(doubled.is_empty(), "lines come twice\n{told}");
        }
    }
}

/// It is followed by no name that matches when its first line comes.
#[test]
fn a_file_that_rotates_away_just_after_it_was_met_empty_holds_nothing_up() {
    for reads in [Act::Nothing, Act::Survey, Act::Settle] {
        let mut case = Case::of("app.log", format!("{reads:?}"), 512 << 10);
        case.write(Step::Append(60));
        case.act(Act::Settle);
        case.write(Step::Move(LIVE, COPIES[1]));
        case.write(Step::Create);
        case.act(Act::Settle);
        case.write(Step::Append(60));
        case.write(Step::Move(COPIES[1], COPIES[2]));
        case.write(Step::Move(LIVE, COPIES[1]));
        case.act(reads);
        case.write(Step::Append(60));
        let (doubled, told) = case.end(true);
        assert!(doubled.is_empty(), "lines come twice\n{told}");
    }
}

fn random(of: u64, to_the_end: bool) -> (Vec<usize>, String) {
    let mut rng = fastrand::Rng::with_seed(of);
    let between = [0, 0, 1, 7, 30][rng.usize(0..5)];
    let habits = Habits { moving: rng.bool(), halves: rng.bool(), between, copies: 4 };
    let mut steps = vec![Step::Append(80)];
    for _ in 0..rng.usize(1..=3) {
        steps.extend(habits.rotation());
        for _ in 0..rng.usize(1..=2) {
            steps.push(Step::Append(rng.usize(60..160)));
        }
    }
    let appetite = if rng.bool() { 1500 } else { 512 << 10 };
    let mut case = Case::new(format!("REHEARSAL_SEED={of} {habits:?}"), appetite);
    let busy = rng.usize(1..8);
    for step in steps {
        let mut act = || if rng.usize(0..8) < busy { ACTS[rng.usize(0..ACTS.len())] } else { Act::Nothing };
        let (first, second) = (act(), act());
        case.act(first);
        if rng.usize(0..4) == 0 {
            case.act_while(second, rng.usize(0..14), step);
        } else {
            case.write(step);
            case.act(second);
        }
    }
    case.end(to_the_end)
}

#[test]
fn kills_anywhere_and_steps_in_the_midst_of_a_look_lose_nothing() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let to_the_end = std::env::var_os("REHEARSALS_TO_THE_END").is_some();
    if let Some(seed) = number("REHEARSAL_SEED") {
        let (doubled, told) = random(seed, true);
        println!("{told}\ntwice: {doubled:?}");
        return;
    }
    let (cases, mut doubled) = (number("REHEARSALS").unwrap_or(120), 0);
    for _ in 0..cases {
        let (twice, told) = random(fastrand::u64(..), to_the_end);
        if !twice.is_empty() {
            doubled += 1;
            println!("lines come twice\n{told}");
        }
    }
    println!("{cases} cases, lines came twice in {doubled}");
}

/// The copy lies always under one name, and is written over the one before. `crowd`: further files in the directory.
fn copied_over(of: u64, name: &'static str, crowd: usize) -> (Vec<usize>, String) {
    let acts =
        [Act::Nothing, Act::Survey, Act::Bite, Act::Meal, Act::Gorge, Act::Settle, Act::Take, Act::Chew, Act::Return];
    let mut rng = fastrand::Rng::with_seed(of);
    let mut steps = Vec::new();
    for _ in 0..rng.usize(2..=4) {
        steps.push(Step::Append(rng.usize(60..100)));
        steps.extend([Step::Clear(name), Step::Copy(LIVE, name), Step::Cut]);
    }
    let mut case = Case::new(format!("seed {of}, over {name}, among {crowd}"), 512 << 10);
    case.rehearsal.crowd(crowd);
    let busy = rng.usize(1..9);
    for step in steps {
        let mut act = || if rng.usize(0..8) < busy { acts[rng.usize(0..acts.len())] } else { Act::Nothing };
        let (first, second) = (act(), act());
        // What lies there is lost by that: only when it was read.
        case.act(if matches!(step, Step::Clear(_)) { Act::Settle } else { first });
        if rng.usize(0..3) == 0 {
            case.act_while(second, rng.usize(0..14), step);
        } else {
            case.write(step);
            case.act(second);
        }
    }
    case.end(of.is_multiple_of(8))
}

#[test]
fn a_copy_of_any_name_that_is_written_over_an_older_one_is_not_read() {
    let cases: usize = std::env::var("REHEARSALS").ok().and_then(|text| text.parse().ok()).unwrap_or(40);
    for (name, crowd, cases) in [("app.log-copy", 0, cases), ("app.log.1", 0, cases), ("app.log-copy", 70, cases / 8)] {
        for _ in 0..cases {
            let (doubled, told) = copied_over(fastrand::u64(..), name, crowd);
            assert!(doubled.is_empty(), "lines come twice\n{told}");
        }
    }
}

#[test]
fn a_copy_is_not_read_however_late_its_original_is_cut() {
    for name in ["app.log.1", "app.log-copy"] {
        for reads in [1, 3] {
            let mut case = Case::new(format!("{name}, read in {reads} pieces"), 512 << 10);
            for _ in 0..reads {
                case.write(Step::Append(60));
                case.act(Act::Settle);
            }
            case.write(Step::Copy(LIVE, name));
            case.act(Act::Settle);
            case.act(Act::Wait);
            case.write(Step::Append(20));
            case.act(Act::Wait);
            case.write(Step::Cut);
            case.write(Step::Append(60));
            let (doubled, told) = case.end(true);
            assert!(doubled.is_empty(), "lines come twice\n{told}");
        }
    }
}

/// What only looks like a copy comes after all.
#[test]
fn a_file_that_stays_the_beginning_of_another_is_read_in_the_end() {
    let mut case = Case::new("twins".into(), 512 << 10);
    case.write(Step::Append(60));
    case.act(Act::Settle);
    case.write(Step::Copy(LIVE, "app.log-twin"));
    case.act(Act::WaitLong);
    let (doubled, told) = case.end(true);
    assert_eq!(doubled, (0..60).collect::<Vec<_>>(), "{told}");
}
