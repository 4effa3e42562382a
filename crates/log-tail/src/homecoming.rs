//! Files that come back from a reader: what becomes of them by how their turn ended.
//!
//! Reads nothing itself. Keeps true: a file that rotated away is read on until nothing more can come; what stages hold of one
//! that is let go of still comes into the queue.

use std::{
    cmp::Reverse,
    path::Path,
    time::{Duration, Instant},
};

use crate::{
    FileState,
    foreman::Foreman,
    order::Gate,
    reader::{Done, now_ms, now_ns},
    record::Record,
    tail_file::{TailFile, Turn},
};

impl Foreman {
    pub(crate) fn take_back(&mut self, done: Done) {
        let Done { mut file, turn, read, in_place, looked_ms, links } = done;
        let id = file.record.id;
        let now = Instant::now();
        if self.unpacking == Some(id) && !matches!(turn, Turn::More) {
            self.unpacking = None;
        }
        if file.ending {
            // It was let go of, and has let go of its lines. Another may have taken its place since.
            self.unpack_next();
            return;
        }
        let Some(slot) = self.slots.get_mut(&id) else {
            // It is not wanted any more.
            self.book.handed(file.record.clone());
            self.unpack_next();
            return;
        };
        let seen_ms = slot.known.seen_ms;
        slot.known = file.record.clone();
        slot.known.seen_ms = seen_ms;
        slot.size = file.size;
        slot.handle = file.handle();
        if read && !(slot.found && slot.caught_up) {
            slot.quiet_since = now;
        }
        slot.caught_up |= matches!(turn, Turn::Idle);
        let found = slot.found;
        // A look that was asked for since may find more.
        let over = match turn {
            Turn::More | Turn::Waits(_) => false,
            Turn::Idle => !slot.again,
            Turn::Replaced | Turn::Ended | Turn::Packed | Turn::Failed(_) => true,
        };
        let offset = file.record.offset;
        let last = std::mem::take(&mut file.last);
        match turn {
            Turn::More => {
                file.last = last;
                slot.file = Some(file);
                self.open += 1;
                self.look(id);
            }
            Turn::Waits(until_ns) => {
                file.last = last;
                let at = instant_of(until_ns).max(now + Duration::from_millis(1));
                slot.file = Some(file);
                slot.poll_at = Some(at);
                self.open += 1;
                self.polls.push(Reverse((at, id)));
            }
            Turn::Idle => self.rest(file, read, in_place.then_some(looked_ms), links, now),
            Turn::Replaced if found || slot.detached => {
                // What came into it is for those who look beside the path again.
                slot.file = Some(file);
                let (key, known, ms) = (slot.key.clone(), slot.known.clone(), now_ms());
                self.book.note(id, |record| record.lost_ms = record.lost_ms.or(Some(ms)));
                self.rotated(&key, &known);
                self.drop_slot(id);
            }
            Turn::Replaced => self.replaced(file, now),
            Turn::Ended => {
                let (offset, size) = (file.record.offset, file.size);
                self.book.note(id, |record| {
                    record.finished_at = Some(offset);
                    record.packed_size = size;
                });
                file.close();
                slot.state = match file.damage.take() {
                    None => FileState::Done,
                    Some(error) => {
                        tracing::warn!(path = %slot.place.display(), %error, offset, "a compressed log file is damaged or unfinished: what could be unpacked was read");
                        FileState::Failed(format!("it is damaged or unfinished, read as far as it goes: {error}"))
                    }
                };
                slot.file = Some(file);
                if slot.detached {
                    self.drop_slot(id);
                }
            }
            Turn::Packed => {
                // It was empty or unfinished when it was met. The next survey says what it is.
                self.drop_slot(id);
                self.book.forget(id);
                self.survey_soon();
            }
            Turn::Failed(error) => self.failed(file, &error, now),
        }
        self.passed(id, offset, over);
        self.unpack_next();
    }

    fn unpack_next(&mut self) {
        while self.unpacking.is_none()
            && let Some(id) = self.to_unpack.pop_front()
        {
            self.look(id);
        }
    }

    /// A file was read as far as it goes. `seen_ms`: when it was seen in its place, if it was.
    fn rest(&mut self, mut file: Box<TailFile>, read: bool, seen_ms: Option<i64>, links: u64, now: Instant) {
        let id = file.record.id;
        let pace = self.config.pace;
        let pending_ms = self.seen(&file.record.job, file.record.rank, Path::new(&file.record.path), i64::MAX);
        let Some(slot) = self.slots.get_mut(&id) else {
            return;
        };
        let quiet = now.duration_since(slot.quiet_since);
        let mut rotation = None;
        if let Some(ms) = seen_ms.filter(|_| !slot.detached) {
            let ms = ms.min(pending_ms);
            slot.state = FileState::Following;
            slot.known.seen_ms = ms;
            self.book.note(id, |record| record.seen_ms = ms);
            let heard = slot.place.parent().is_some_and(|parent| self.watch.hears(parent))
                && slot.known.real_path().parent().is_some_and(|parent| self.watch.hears(parent));
            let longest = if heard { pace.watched_poll.max(pace.max_poll) } else { pace.max_poll };
            slot.pause = if read { pace.min_poll } else { (slot.pause * 2).min(longest) };
            if self.open >= self.config.max_open {
                file.close();
            }
        } else if !slot.detached {
            slot.detached = true;
            slot.state = FileState::Draining;
            slot.quiet_since = now;
            slot.pause = pace.min_poll;
            self.metrics.rotated(if links == 0 { "deleted" } else { "renamed" });
            rotation = Some((slot.key.clone(), slot.known.clone()));
        } else if quiet >= pace.drain {
            let limit = if links == 0 || slot.found { pace.drain } else { pace.linger };
            if file.waiting > 0 || file.holds() {
                file.last = true;
                slot.file = Some(file);
                self.open += 1;
                self.look(id);
                return;
            }
            if quiet >= limit {
                let (offset, ms) = (file.record.offset, now_ms());
                self.book.note(id, |record| {
                    record.finished_at = Some(offset);
                    record.lost_ms.get_or_insert(ms);
                });
                self.drop_slot(id);
                return;
            }
            slot.pause = (slot.pause * 2).min((pace.drain / 2).max(pace.min_poll));
        } else {
            slot.pause = (slot.pause * 2).min((pace.drain / 2).max(pace.min_poll));
        }
        let again = slot.again;
        let at = file.due_ns().map_or(now + slot.pause, |due| instant_of(due).clamp(now, now + slot.pause));
        if file.is_open() {
            self.open += 1;
        }
        slot.file = Some(file);
        if again {
            self.look(id);
        } else {
            slot.poll_at = Some(at);
            self.polls.push(Reverse((at, id)));
        }
        if let Some((key, known)) = rotation {
            self.rotated(&key, &known);
        }
    }

    /// Another content in the same file.
    fn replaced(&mut self, mut file: Box<TailFile>, now: Instant) {
        let old = file.record.id;
        let Some(mut slot) = self.slots.remove(&old) else {
            return;
        };
        let ms = now_ms();
        let (path, offset) = (&file.record.path, file.record.offset);
        // As far as was seen: more may have come before the cut.
        match slot.size.saturating_sub(offset) {
            0 => {
                tracing::info!(%path, offset, "a log file was truncated or written anew: reading it from its beginning")
            }
            unread => {
                tracing::warn!(%path, offset, unread, "a log file was truncated before it was read to its end: what was unread comes if its copy lies beside it under a name that rotation gives, such as app.log.1, and is missing otherwise")
            }
        }
        self.metrics.rotated("truncated");
        self.book.handed(file.record.clone());
        self.book.note(old, |record| record.lost_ms = Some(ms));
        let known = slot.known.clone();
        let (job, rank, device, inode) = slot.key.clone();
        let mut record = Record::fresh(&job, rank, Path::new(&known.path), device, inode);
        record.real.clone_from(&known.real);
        // Something may have come and gone since the path was seen last.
        record.seen_ms = known.seen_ms;
        record.packed = file.packing.is_some();
        self.book.insert(record.clone());
        let id = record.id;
        file.begin_anew(record.clone());
        slot.known = record;
        slot.quiet_since = now;
        slot.file = Some(file);
        self.open += 1;
        self.by_key.insert(slot.key.clone(), id);
        for ids in self.by_place.values_mut() {
            for held in ids.iter_mut().filter(|held| **held == old) {
                *held = id;
            }
        }
        let (key, fresh) = (slot.key.clone(), slot.known.clone());
        // What is left of the content before may lie in a copy: the next survey sees.
        slot.gate = Some(Gate::of_renewed());
        slot.standing = u64::MAX;
        self.gated.insert(id);
        self.slots.insert(id, slot);
        self.note_came(&fresh, known.seen_ms);
        self.rotated(&key, &known);
    }

    fn failed(&mut self, mut file: Box<TailFile>, error: &std::io::Error, now: Instant) {
        let id = file.record.id;
        let Some(slot) = self.slots.get_mut(&id) else {
            return;
        };
        if error.kind() == std::io::ErrorKind::NotFound {
            // It was closed, and is not in its place any more: looked for among its siblings.
            let ms = now_ms();
            self.book.note(id, |record| record.lost_ms = Some(ms));
            let (key, known) = (slot.key.clone(), slot.known.clone());
            self.metrics.rotated("missed");
            self.rotated(&key, &known);
            self.drop_slot(id);
            return;
        }
        let told = FileState::Failed(error.to_string());
        if slot.state != told {
            tracing::warn!(path = %slot.place.display(), %error, "a log file cannot be read: trying again");
        }
        slot.state = told;
        slot.size = file.metadata().map_or(file.size, |meta| meta.len());
        let packed = file.packing.is_some();
        if !slot.detached {
            file.close();
        } else if file.is_open() {
            self.open += 1;
        }
        // Unless it grows: then it is met anew.
        let salvage = packed && !std::mem::replace(&mut file.salvage, true);
        slot.file = Some(file);
        if salvage {
            let at = now + self.config.pace.suspicion;
            slot.poll_at = Some(at);
            self.polls.push(Reverse((at, id)));
        } else if !packed {
            slot.pause = (slot.pause * 2).clamp(Duration::from_millis(100), Duration::from_secs(10));
            let at = now + slot.pause;
            slot.poll_at = Some(at);
            self.polls.push(Reverse((at, id)));
        }
    }

    /// Ends following a file; its record stays in the book.
    pub(crate) fn drop_slot(&mut self, id: u64) {
        let Some(slot) = self.slots.remove(&id) else {
            return;
        };
        let mut known = slot.known.clone();
        if let Some(mut file) = slot.file {
            if file.is_open() {
                self.open = self.open.saturating_sub(1);
            }
            if file.holds() {
                // A reader brings them into the queue.
                known.held.clear();
                file.ending = true;
                self.queue.push(file);
            }
        }
        self.book.handed(known);
        if self.by_key.get(&slot.key) == Some(&id) {
            self.by_key.remove(&slot.key);
        }
        if self.unpacking == Some(id) {
            self.unpacking = None;
        }
        self.config.readership.ends((slot.key.2, slot.key.3), &self.route, &slot.key.0);
        self.gated.remove(&id);
        self.passed(id, u64::MAX, true);
        let path = &slot.known.path;
        if !self.slots.values().any(|other| other.known.path == *path) {
            self.metrics.forget(path);
        }
    }
}

/// When the wall clock will say this.
fn instant_of(ns: i64) -> Instant {
    // A little late rather than a little early, which would be a second look.
    let left = u64::try_from(ns.saturating_sub(now_ns())).unwrap_or(0).saturating_add(1_000_000);
    Instant::now() + Duration::from_nanos(left.min(3_600_000_000_000))
}
