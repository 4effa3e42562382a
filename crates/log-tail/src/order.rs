//! Who is read before whom: of contents that rotation made of one another, the one that was written first.
//!
//! What a survey took up waits at a *gate* until it is over; then each waits for the nearest older one of its path or of its
//! names of which something is unread, and at most for a while for files of which it is not clear yet whose they are. Where
//! nothing tells the ages (other names, times that overlap) files are read side by side.
//!
//! Keeps true: gates lead from newer to older ones along one order, so that nobody waits in a circle; a file that cannot be
//! read is waited for by nobody; a gate opens when the older one was read as far as it went when the gate was closed.

use std::{
    collections::{HashMap, HashSet},
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Instant, SystemTime},
};

use crate::{
    FileState,
    family::{Age, age},
    foreman::Foreman,
    likeness::{LARGE_FAMILY, kin},
    slot::Slot,
};

/// Why a file that was taken up is not read yet.
#[derive(Debug)]
pub(crate) struct Gate {
    /// Older files, and how far they are to be read before; empty: the survey is to say.
    pub after: Vec<(u64, u64)>,
    /// A file that may be older is looked at, or no survey has said anything yet.
    pub unclear: bool,
    pub since: Instant,
    /// It is a file that was followed and that was cut or written anew, or one that was empty when it was met.
    pub renewed: bool,
    /// Such a one, and nothing is in it.
    pub empty: bool,
}

impl Gate {
    pub(crate) fn new() -> Self {
        Self { after: Vec::new(), unclear: true, since: Instant::now(), renewed: false, empty: false }
    }

    /// Of a file that was cut or written anew.
    pub(crate) fn of_renewed() -> Self {
        Self { renewed: true, ..Self::new() }
    }

    /// Of a file in which nothing is yet: what comes may be a copy of another's.
    pub(crate) fn of_empty() -> Self {
        Self { empty: true, ..Self::of_renewed() }
    }
}

/// A file among those that rotation may have made of one another.
struct Member {
    /// `None`: it is not followed yet.
    id: Option<u64>,
    gated: bool,
    path: PathBuf,
    /// What rotation makes other names of, and what it made of this one.
    base: PathBuf,
    age: Age,
    live: bool,
    packed: bool,
    written: SystemTime,
    made: SystemTime,
    /// Not all of it was read: it lies before this.
    unread: Option<u64>,
    /// Where it stood among those that were there when it came.
    standing: u64,
}

/// A file that is to be read before another, if it is followed, and how far.
type Before = (Option<u64>, u64);

/// Job, rank, directory and family.
type Circle = (std::sync::Arc<str>, u32, (PathBuf, String));

impl Foreman {
    /// Decides anew, for everything that was taken up and not begun, what it waits for; begins what waits for nothing.
    pub(crate) fn line_up(&mut self) {
        if self.gated.is_empty() {
            return;
        }
        let circle = |slot: &Slot| -> Option<Circle> {
            Some((slot.key.0.clone(), slot.key.1, kin(Path::new(&slot.known.path))?))
        };
        let wanted: HashSet<Circle> =
            self.gated.iter().filter_map(|id| self.slots.get(id)).filter_map(circle).collect();
        let mut circles: HashMap<Circle, Vec<Member>> = HashMap::new();
        for (id, slot) in &self.slots {
            let Some(circle) = circle(slot).filter(|circle| wanted.contains(circle)) else { continue };
            circles.entry(circle).or_default().push(self.member(*id, slot));
        }
        let mut unclear: HashMap<(PathBuf, String), Vec<&Path>> = HashMap::new();
        for path in &self.unclear {
            if let Some(of) = kin(path) {
                unclear.entry(of).or_default().push(path);
            }
        }
        for ((_, _, of), members) in &mut circles {
            members.extend(unclear.get(of).into_iter().flatten().filter_map(|path| strange(path)));
        }
        let limit = self.config.pace.suspicion * 3;
        self.behind.clear();
        let mut begin = Vec::new();
        let mut look = Vec::new();
        for mut members in circles.into_values() {
            sort(&mut members);
            for id in members.iter().filter_map(|member| member.id) {
                if let Some(slot) = self.slots.get_mut(&id).filter(|slot| slot.standing == u64::MAX) {
                    self.standing += 1;
                    slot.standing = self.standing;
                }
            }
            for (id, mut after) in older(&members) {
                let Some(slot) = self.slots.get_mut(&id) else { continue };
                let gate = slot.gate.get_or_insert_with(Gate::new);
                let waits_for_search =
                    after.iter().any(|(id, _)| id.is_none()) || self.unclear.contains(Path::new(&slot.known.path));
                after.retain(|(id, _)| id.is_some());
                // What is empty loses nothing by waiting: a copy may come into it.
                gate.unclear = gate.empty || waits_for_search && gate.since.elapsed() < limit;
                gate.after = after.into_iter().filter_map(|(id, upto)| Some((id?, upto))).collect();
                for (older, _) in &gate.after {
                    self.behind.entry(*older).or_default().push(id);
                }
                match gate.after.is_empty() && !gate.unclear {
                    true => begin.push(id),
                    false => look.extend(gate.after.iter().map(|(id, _)| *id)),
                }
            }
        }
        // Gates whose slot has no family at all.
        let lost: Vec<u64> =
            self.gated.iter().filter(|id| self.slots.get(id).is_none_or(|s| circle(s).is_none())).copied().collect();
        begin.extend(lost);
        for id in begin {
            self.begin_gated(id);
        }
        look.sort_unstable();
        look.dedup();
        for id in look {
            self.look(id);
        }
    }

    /// A file came back from a reader, or is gone. `over`: there is nothing more of it now.
    pub(crate) fn passed(&mut self, id: u64, offset: u64, over: bool) {
        if self.gated.is_empty() {
            return;
        }
        let (mut begin, mut stay) = (Vec::new(), Vec::new());
        for gated in self.behind.remove(&id).unwrap_or_default() {
            let Some(gate) = self.slots.get_mut(&gated).and_then(|slot| slot.gate.as_mut()) else { continue };
            let before = gate.after.len();
            gate.after.retain(|(older, upto)| *older != id || !over && offset < *upto);
            if gate.after.iter().any(|(older, _)| *older == id) {
                stay.push(gated);
            } else if before > 0 && gate.after.is_empty() && !gate.unclear {
                begin.push(gated);
            }
        }
        if !stay.is_empty() {
            self.behind.insert(id, stay);
        }
        for id in begin {
            self.begin_gated(id);
        }
    }

    fn begin_gated(&mut self, id: u64) {
        self.gated.remove(&id);
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.gate = None;
            self.look(id);
        }
    }

    fn member(&self, id: u64, slot: &Slot) -> Member {
        let named = fs::metadata(&slot.place).ok().filter(|meta| (meta.dev(), meta.ino()) == (slot.key.2, slot.key.3));
        let is_named = named.is_some();
        let meta = named.or_else(|| slot.open()?.metadata().ok());
        let name = if is_named { slot.place.as_path() } else { Path::new(&slot.known.path) };
        let (base, packed, age) = of_name(name);
        let size = meta.as_ref().map_or(0, fs::Metadata::len);
        let ended = matches!(slot.state, FileState::Done | FileState::Failed(_));
        let unread = match (ended, slot.known.packed, slot.file.as_ref()) {
            (true, _, _) => None,
            (false, true, _) => Some(u64::MAX),
            (false, false, file) => {
                let size = size.min(file.map_or(u64::MAX, |file| file.upto));
                let waits = slot.gate.as_ref().is_some_and(|gate| !gate.empty);
                (size > slot.known.offset || waits).then_some(size)
            }
        };
        let (made, written) = stamps(meta.as_ref());
        Member {
            id: Some(id),
            gated: slot.gate.is_some(),
            path: PathBuf::from(&slot.known.path),
            live: is_named && !slot.detached && slot.place == Path::new(&slot.known.path) && age.is_none(),
            base,
            age: if is_named { age } else { Age::default() },
            packed,
            written,
            made,
            unread,
            standing: slot.standing,
        }
    }
}

/// A file that is looked at and followed by nobody yet.
fn strange(path: &Path) -> Option<Member> {
    let meta = fs::metadata(path).ok()?;
    let (base, packed, age) = of_name(path);
    let (made, written) = stamps(Some(&meta));
    let live = age.is_none();
    Some(Member {
        id: None,
        gated: false,
        path: path.to_owned(),
        base,
        age,
        live,
        packed,
        written,
        made,
        unread: Some(meta.len()),
        standing: u64::MAX,
    })
}

fn of_name(path: &Path) -> (PathBuf, bool, Age) {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let (base, packed, age) = age(&name);
    (path.with_file_name(base), packed, age)
}

/// When it was made and when it was last written.
fn stamps(meta: Option<&fs::Metadata>) -> (SystemTime, SystemTime) {
    let written = meta.and_then(|meta| meta.modified().ok()).unwrap_or(SystemTime::UNIX_EPOCH);
    (meta.and_then(|meta| meta.created().ok()).unwrap_or(written), written)
}

/// Oldest first. What is read under a name that nothing was added to is newer than all that rotation made of that name; of
/// the others the time of the last write tells, then what was added to the name. A compressed file was written when it was
/// compressed, unless its time was kept: what its name calls newer and lies there as it was written bounds that.
fn sort(members: &mut [Member]) {
    members.sort_by(|a, b| (&a.base, &a.age).cmp(&(&b.base, &b.age)));
    let mut newer: Option<(PathBuf, SystemTime)> = None;
    for member in members.iter_mut().rev().filter(|member| !member.live) {
        let bound = newer.as_ref().filter(|(base, _)| *base == member.base).map(|(_, written)| *written);
        if member.packed {
            member.written = bound.map_or(member.written, |bound| bound.min(member.written));
        } else if !member.age.is_none() {
            newer = Some((member.base.clone(), bound.map_or(member.written, |bound| bound.min(member.written))));
        }
    }
    let mut last: HashMap<PathBuf, SystemTime> = HashMap::new();
    for member in members.iter().filter(|member| !member.live) {
        for key in [&member.base, &member.path] {
            let held = last.entry(key.clone()).or_insert(member.written);
            *held = member.written.max(*held);
        }
    }
    for member in members.iter_mut().filter(|member| member.live) {
        let others = [&member.base, &member.path].into_iter().filter_map(|key| last.get(key)).max();
        member.written = others.copied().map_or(member.written, |others| others.max(member.written));
    }
    // Clocks of file systems are coarse, and names move on: what was told once holds.
    let key = |a: &Member| (a.written, a.live, a.standing);
    members.sort_by(|a, b| key(a).cmp(&key(b)).then_with(|| (&a.age, a.id).cmp(&(&b.age, b.id))));
}

/// For each that is not begun, what it waits for. Only the nearest older one of each kind: that waits for those before it.
fn older(members: &[Member]) -> Vec<(u64, Vec<Before>)> {
    let mut of_path: HashMap<&Path, &Member> = HashMap::new();
    let mut of_base: HashMap<&Path, &Member> = HashMap::new();
    let mut before: Option<&Member> = None;
    let mut waits = Vec::new();
    for member in members {
        if let Some(id) = member.id.filter(|_| member.gated) {
            let path = of_path.get(member.path.as_path()).copied();
            let base = of_base.get(member.base.as_path()).copied();
            // Other names, as of files that are written side by side: only what was not written any more when this was made.
            let ended = before.filter(|older| members.len() <= LARGE_FAMILY && older.written <= member.made);
            let mut after: Vec<Before> =
                [path, base, ended].into_iter().flatten().filter_map(|older| Some((older.id, older.unread?))).collect();
            after.sort_unstable();
            after.dedup();
            waits.push((id, after));
        }
        if member.unread.is_some() {
            of_path.insert(&member.path, member);
            of_base.insert(&member.base, member);
            before = member.id.map(|_| member).or(before);
        }
    }
    waits
}
