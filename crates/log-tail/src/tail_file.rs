//! One content being read: its handle, its position, and taking lines from it. Blocking; knows no schedule.
//!
//! Each read begins at the bytes before the position whose hash is known, in one call with what is new, and the file's first
//! bytes are compared behind it: a file that was truncated, even if it outgrew the old position since, shows itself there. Keeps true: the position lies behind a line
//! end, or behind a piece that was delivered; nothing behind the position is kept in memory (of compressed files, one
//! unfinished line at most).

mod held;

use std::{
    fs::{self, File, Metadata},
    io::{self, Read},
    os::unix::fs::{DirEntryExt, FileExt, MetadataExt},
    path::{Path, PathBuf},
    sync::{Arc, Weak},
};

use model::{Labels, LogBatch};

use crate::{
    Charset, Packing,
    config::{LONGEST_LINE, LONGEST_STAGED_LINE},
    lines::{Counts, Lines},
    packing::{fill, fill_until},
    record::{HEAD, Record, TAIL, hash},
    staged::{ReadyJob, Staged},
};

/// Bytes read at once.
const CHUNK: usize = 256 << 10;
/// A batch is handed over when it holds this much.
pub(crate) const BATCH: usize = 512 << 10;
/// A batch that holds this much takes no more lines.
pub(crate) fn is_full(bytes: usize) -> bool {
    #[cfg(test)]
    let most = crate::rehearsal::appetite();
    #[cfg(not(test))]
    let most = BATCH;
    bytes >= most
}

/// Read in one turn at most, bytes, where batches do not fill.
const LONGEST_TURN: u64 = 4 << 20;
/// Of one stretch of held lines, bytes: what stages hold at most.
const MOST_HELD: usize = 64 << 20;

/// What a reader uses for every file in turn.
#[derive(Default)]
pub(crate) struct Desk {
    pub buf: Vec<u8>,
    pub decoded: Vec<u8>,
    pub batch: LogBatch,
}

/// How a turn ended.
#[derive(Debug)]
pub(crate) enum Turn {
    /// There is more.
    More,
    /// Everything that can be delivered now was read.
    Idle,
    /// The file holds something else than what was read of it before.
    Replaced,
    /// A compressed file was read to its end.
    Ended,
    /// What was taken for text, and of which nothing was read yet, is a compressed file.
    Packed,
    /// A limit makes it wait until then, nanoseconds since the epoch.
    Waits(i64),
    Failed(io::Error),
}

/// The text of a compressed file, behind the position.
struct Unpacked {
    text: Box<dyn Read + Send>,
    /// Read and not delivered.
    held: Vec<u8>,
    at_end: bool,
}

pub(crate) struct TailFile {
    /// The position as handed over; what is durable of it, the book knows.
    pub record: Record,
    /// Where it lies now.
    pub place: PathBuf,
    pub job: Arc<ReadyJob>,
    pub labels: Labels,
    pub packing: Option<Packing>,
    pub charset: Charset,
    pub last_ns: i64,
    /// Deliver an unfinished last line as well.
    pub last: bool,
    /// Read nothing more; only let go of what stages hold back.
    pub ending: bool,
    /// Nobody can open it again: it is read to its end at once, whatever limits say.
    pub farewell: bool,
    /// It follows a truncation: zero bytes at its beginning are a hole that its writer left.
    pub reborn: bool,
    /// Bytes behind the position that hold no line end.
    pub waiting: u64,
    /// Size (as stored) and time of change when it was last read to its end.
    pub size: u64,
    /// Nothing behind this is read.
    pub upto: u64,
    /// Of a compressed file that is damaged or unfinished, what can be unpacked is delivered as all there is.
    pub salvage: bool,
    /// Why no more of it could be unpacked.
    pub damage: Option<String>,
    changed: i128,
    file: Option<Arc<File>>,
    unpacked: Option<Unpacked>,
    /// What the head's hash covers, while it can grow.
    head: Option<Vec<u8>>,
    settled: bool,
    staged: Option<Box<Staged>>,
    /// A compressed file was read to its end.
    ended: bool,
    /// What a process before this one held back was read again.
    resumed: bool,
    /// The limits of the route make it wait until then.
    wait_ns: i64,
    /// The position is in the midst of a line that was too long for one piece.
    cut: bool,
}

pub(crate) fn changed(meta: &Metadata) -> i128 {
    i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec())
}

impl TailFile {
    pub(crate) fn new(
        record: Record,
        place: PathBuf,
        job: Arc<ReadyJob>,
        labels: Labels,
        packing: Option<Packing>,
    ) -> Self {
        let charset = job.charset;
        let staged = Staged::new(&job).map(Box::new);
        let resumed = record.held.is_empty();
        Self {
            record,
            place,
            job,
            labels,
            packing,
            charset,
            last_ns: 0,
            last: false,
            ending: false,
            farewell: false,
            reborn: false,
            waiting: 0,
            size: 0,
            upto: u64::MAX,
            salvage: false,
            damage: None,
            changed: -1,
            file: None,
            unpacked: None,
            head: None,
            settled: false,
            staged,
            resumed,
            ended: false,
            wait_ns: 0,
            cut: false,
        }
    }

    /// Uses this handle, which was opened on the file that the record speaks of.
    pub(crate) fn hold(&mut self, file: File) {
        self.file = Some(Arc::new(file));
        self.unpacked = None;
        self.changed = -1;
    }

    /// Its handle, for a look at it while a reader has it; gone when it is closed.
    pub(crate) fn handle(&self) -> Weak<File> {
        self.file.as_ref().map(Arc::downgrade).unwrap_or_default()
    }

    pub(crate) fn is_open(&self) -> bool {
        self.file.is_some()
    }

    /// Closes it until the next turn.
    pub(crate) fn close(&mut self) {
        self.file = None;
        self.unpacked = None;
    }

    /// The handle's metadata.
    pub(crate) fn metadata(&self) -> io::Result<Metadata> {
        self.file.as_ref().ok_or_else(gone)?.metadata()
    }

    /// Goes back to what was handed over, after a mistake in the midst of a turn. What stages held is read again.
    pub(crate) fn recover(&mut self, record: Record) {
        self.resumed = record.held.is_empty();
        self.record = record;
        self.staged = None;
        self.head = None;
        self.ended = false;
        self.close();
    }

    /// The same file, from its beginning, as another content.
    pub(crate) fn begin_anew(&mut self, record: Record) {
        self.record = record;
        self.waiting = 0;
        self.changed = -1;
        self.unpacked = None;
        self.head = None;
        self.settled = false;
        self.reborn = true;
        self.resumed = true;
        self.cut = false;
        self.ended = false;
    }

    /// Its stages hold lines that are not in the queue.
    pub(crate) fn holds(&self) -> bool {
        self.resumed && !self.record.held.is_empty()
    }

    /// When it is to be looked at even if nothing comes, nanoseconds since the epoch.
    pub(crate) fn due_ns(&self) -> Option<i64> {
        self.staged.as_ref()?.due_ns()
    }

    /// Whether it is found under no name, neither in its place nor beside its path, once it is closed.
    pub(crate) fn is_orphan(&self) -> bool {
        let readable = self.packing.is_none() || self.unpacked.is_some();
        let Some(meta) = self.metadata().ok().filter(|_| readable) else {
            return false;
        };
        let is_beside = |path: &Path| {
            let names =
                path.parent().and_then(|directory| fs::read_dir(directory).ok()).into_iter().flatten().flatten();
            let mut files = names.filter(|entry| entry.ino() == meta.ino()).filter_map(|entry| entry.metadata().ok());
            files.any(|file| file.dev() == meta.dev())
        };
        meta.nlink() == 0 || !self.is_in_place() && !is_beside(self.record.real_path()) && !is_beside(&self.place)
    }

    /// Bytes behind the position, as stored. Of compressed files that is not known.
    pub(crate) fn unread(&self) -> u64 {
        let size = self.metadata().map_or(0, |meta| meta.len().min(self.upto));
        if self.packing.is_some() { 0 } else { size.saturating_sub(self.record.offset) }
    }

    /// Whether `place` still leads to this file.
    pub(crate) fn is_in_place(&self) -> bool {
        fs::metadata(&self.place).is_ok_and(|meta| (meta.dev(), meta.ino()) == (self.record.device, self.record.inode))
    }

    /// Opens it if it is closed. Another file in its place is `NotFound`.
    fn open(&mut self) -> io::Result<()> {
        if self.file.is_some() {
            return Ok(());
        }
        let file = File::open(&self.place)?;
        let meta = file.metadata()?;
        if (meta.dev(), meta.ino()) != (self.record.device, self.record.inode) {
            return Err(gone());
        }
        self.hold(file);
        Ok(())
    }

    /// Takes lines until the batch is full or there are no more.
    pub(crate) fn turn(&mut self, desk: &mut Desk, now_ns: i64, counts: &mut Counts) -> Turn {
        let turn = self.pour(desk, now_ns, counts).unwrap_or_else(|| self.read(desk, now_ns, counts));
        let all = match &turn {
            Turn::More | Turn::Waits(_) | Turn::Packed => false,
            Turn::Idle => self.last || self.ending,
            Turn::Replaced | Turn::Ended => true,
            Turn::Failed(error) => self.ending || error.kind() == io::ErrorKind::NotFound,
        };
        let turn = if all { self.finish(turn, desk, now_ns, counts) } else { turn };
        self.note_held(desk, now_ns, counts);
        turn
    }

    fn read(&mut self, desk: &mut Desk, now_ns: i64, counts: &mut Counts) -> Turn {
        // What is held is in memory: the file need not be there any more.
        if self.ending {
            return Turn::Idle;
        }
        let turn = self.open().and_then(|()| {
            if !self.resumed && self.packing.is_none() {
                if !self.resume(desk, now_ns, counts)? {
                    return Ok(Turn::Replaced);
                }
                if let Some(turn) = self.pause(desk, now_ns) {
                    return Ok(turn);
                }
            }
            match self.packing {
                None => self.plain(desk, now_ns, counts),
                Some(packing) => self.packed(packing, desk, now_ns, counts),
            }
        });
        turn.unwrap_or_else(|error| {
            self.unpacked = None;
            Turn::Failed(error)
        })
    }

    /// Bytes of a line that is taken in one piece.
    fn longest(&self) -> usize {
        if self.staged.is_some() { LONGEST_STAGED_LINE } else { LONGEST_LINE }
    }

    fn lines<'a>(
        &'a mut self,
        batch: &'a mut LogBatch,
        decoded: &'a mut Vec<u8>,
        now_ns: i64,
    ) -> io::Result<Lines<'a>> {
        let stream = match &self.staged {
            // Stages make the labels.
            Some(_) => 0,
            None => batch.stream(&self.labels).map_err(io::Error::other)?,
        };
        Ok(Lines {
            batch,
            stream,
            labels: &self.labels,
            staged: self.staged.as_deref_mut(),
            gate: self.job.gate.as_ref().filter(|_| !self.farewell),
            charset: self.charset,
            limits: self.job.limits,
            decoded,
            now_ns,
            last_ns: self.last_ns,
            wait_ns: if self.farewell { 0 } else { self.wait_ns },
            cut: self.cut,
            counts: Counts::default(),
        })
    }

    fn plain(&mut self, desk: &mut Desk, now_ns: i64, counts: &mut Counts) -> io::Result<Turn> {
        loop {
            let meta = self.metadata()?;
            let (size, changed) = (meta.len().min(self.upto), changed(&meta));
            if size < self.record.offset {
                return Ok(Turn::Replaced);
            }
            let known = self.record.offset + self.waiting;
            if size == known && changed == self.changed && (self.waiting == 0 || !self.last) {
                return Ok(Turn::Idle);
            }
            if !self.load_head()? {
                return Ok(Turn::Replaced);
            }
            let consumed = match self.chunk(desk, now_ns, counts)? {
                Chunk::Replaced => return Ok(Turn::Replaced),
                Chunk::Packed => return Ok(Turn::Packed),
                Chunk::End => {
                    (self.changed, self.size) = (changed, size);
                    return Ok(Turn::Idle);
                }
                Chunk::Taken(consumed) => consumed,
            };
            if let Some(turn) = self.pause(desk, now_ns) {
                return Ok(turn);
            }
            // A file whose lines all go, or are held back, has its turn end as others have.
            if consumed == 0 || counts.bytes >= LONGEST_TURN {
                return Ok(Turn::More);
            }
        }
    }

    /// Reads what lies behind the position and takes whole lines from it.
    fn chunk(&mut self, desk: &mut Desk, now_ns: i64, counts: &mut Counts) -> io::Result<Chunk> {
        let longest = self.longest();
        let Desk { buf, decoded, batch } = desk;
        if buf.len() < CHUNK {
            buf.resize(CHUNK, 0);
        }
        let tail_len = self.record.tail_len as usize;
        let start = self.record.offset.saturating_sub(tail_len as u64);
        let result = loop {
            let file = self.file.as_ref().ok_or_else(gone)?;
            let most = usize::try_from(self.upto.saturating_sub(start)).unwrap_or(usize::MAX);
            let n = read_at(file, buf, start)?.min(most);
            let whole = buf.get(..n).unwrap_or_default();
            let Some((tail, data)) = whole.split_at_checked(tail_len) else {
                break Chunk::Replaced;
            };
            if hash(tail) != self.record.tail && tail_len > 0 {
                break Chunk::Replaced;
            }
            #[cfg(test)]
            crate::rehearsal::moment("a read");
            // Lines of equal length may well end alike. Asked behind the read: what was read before a cut came of the old content.
            if start > 0 && !has_head(file, &self.record)? {
                break Chunk::Replaced;
            }
            if self.record.offset == 0 && Packing::of(data).is_some() {
                break Chunk::Packed;
            }
            let at_end = n < buf.len();
            if !self.settled {
                self.settle_charset(data);
            }
            let unit = self.charset.unit();
            let data = data.get(..data.len() - data.len() % unit).unwrap_or_default();
            let hole = self.hole(data, at_end);
            let mut taken = hole;
            counts.holes += hole as u64;
            if hole == 0 {
                let until = if self.last && at_end { Until::Full } else { Until::LineEnd };
                let offset = self.record.offset;
                let mut lines = self.lines(batch, decoded, now_ns)?;
                taken = take(&mut lines, data, offset, until);
                let (last_ns, wait_ns, cut, these) = (lines.last_ns, lines.wait_ns, lines.cut, lines.counts);
                if lines.is_full() {
                    // There may be more, even if nothing is written any more.
                    self.changed = -1;
                }
                (self.last_ns, self.wait_ns, self.cut) = (last_ns, wait_ns, cut);
                counts.add(these);
            }
            if taken == 0 && !at_end && buf.len() < longest + TAIL + CHUNK {
                let longer = buf.len() * 2;
                buf.resize(longer.min(longest + TAIL + CHUNK), 0);
                continue;
            }
            let rest = data.len() - taken;
            let read = whole.get(..tail_len + taken).unwrap_or_default();
            self.advance(read, tail_len);
            counts.bytes += taken as u64;
            self.waiting = rest as u64;
            // Bytes that arrived while the batch was filling are found by the next look at the size.
            break if at_end && taken == 0 { Chunk::End } else { Chunk::Taken(taken) };
        };
        if buf.len() > CHUNK {
            buf.truncate(CHUNK);
            buf.shrink_to(CHUNK);
        }
        if decoded.capacity() > 4 * LONGEST_LINE {
            *decoded = Vec::new();
        }
        Ok(result)
    }

    /// Zero bytes that a writer left who went on at his old place after the file was truncated.
    fn hole(&mut self, data: &[u8], at_end: bool) -> usize {
        if !self.reborn || data.is_empty() {
            return 0;
        }
        let zeros = data.iter().take_while(|byte| **byte == 0).count();
        let zeros = zeros - zeros % self.charset.unit();
        if zeros < data.len() || at_end {
            self.reborn = zeros == data.len();
        }
        // A few zeros may be text (UTF-16 has them in every letter); a hole is a page at least, or all there is.
        if zeros >= 64 { zeros } else { 0 }
    }

    fn settle_charset(&mut self, data: &[u8]) {
        if self.record.offset == 0 {
            self.charset = self.charset.settled(data);
        } else if self.charset == Charset::Utf16 {
            let mut mark = [0; 2];
            let read = self.file.as_ref().map(|file| read_at(file, &mut mark, 0));
            self.charset = self.charset.settled(if matches!(read, Some(Ok(2))) { &mark } else { &[] });
        }
        self.settled = self.record.offset > 0 || data.len() >= 2;
    }

    /// Has the bytes that the head's hash covers, if more can come to it. False: the file does not begin with them.
    fn load_head(&mut self) -> io::Result<bool> {
        let len = self.record.head_len as usize;
        if len >= HEAD || self.head.is_some() {
            return Ok(true);
        }
        let mut bytes = vec![0; len];
        let file = self.file.as_ref().ok_or_else(gone)?;
        let n = read_at(file, &mut bytes, 0)?;
        let same = n == len && (len == 0 || hash(&bytes) == self.record.head);
        self.head = same.then_some(bytes);
        Ok(same)
    }

    /// Moves the position behind `read`, which begins with the `tail_len` bytes before the old position.
    fn advance(&mut self, read: &[u8], tail_len: usize) {
        let new = read.get(tail_len..).unwrap_or_default();
        if new.is_empty() {
            return;
        }
        if self.packing.is_none() {
            self.record.pass(new);
        }
        if let Some(head) = &mut self.head {
            let room = HEAD.saturating_sub(head.len()).min(new.len());
            head.extend_from_slice(new.get(..room).unwrap_or_default());
            self.record.head = hash(head);
            self.record.head_len = u32::try_from(head.len()).unwrap_or_default();
            if head.len() >= HEAD {
                self.head = None;
            }
        }
        let tail = read.get(read.len().saturating_sub(TAIL)..).unwrap_or_default();
        self.record.tail = hash(tail);
        self.record.tail_len = u32::try_from(tail.len()).unwrap_or_default();
        self.record.offset += new.len() as u64;
    }

    fn packed(&mut self, packing: Packing, desk: &mut Desk, now_ns: i64, counts: &mut Counts) -> io::Result<Turn> {
        if self.ended {
            return Ok(Turn::Ended);
        }
        if self.unpacked.is_none() || !self.resumed {
            let Some(unpacked) = self.unpack(packing, desk, now_ns, counts)? else {
                return Ok(Turn::Replaced);
            };
            self.unpacked = Some(unpacked);
            if let Some(turn) = self.pause(desk, now_ns) {
                return Ok(turn);
            }
        }
        let Some(mut unpacked) = self.unpacked.take() else {
            return Ok(Turn::Idle);
        };
        let tail_len = self.record.tail_len as usize;
        // `held` begins with the tail, so that positions move as in plain files.
        let mut tail_len = tail_len.min(unpacked.held.len());
        while desk.batch.bytes() < BATCH {
            let data_len = unpacked.held.len() - tail_len;
            if !unpacked.at_end && data_len < self.longest() + 4 {
                let old = unpacked.held.len();
                unpacked.held.resize(old + CHUNK, 0);
                let (n, error) = fill_until(unpacked.text.as_mut(), unpacked.held.get_mut(old..).unwrap_or_default());
                match error {
                    None => {}
                    // What the disk refuses may come later; what does not unpack now never will.
                    Some(error) if self.salvage && error.raw_os_error().is_none() => {
                        self.damage = Some(error.to_string())
                    }
                    Some(error) => return Err(error),
                }
                unpacked.held.truncate(old + n);
                unpacked.at_end = n < CHUNK || self.damage.is_some();
            }
            let data = unpacked.held.get(tail_len..).unwrap_or_default();
            if !self.settled {
                self.settle_charset(data);
            }
            let until = if unpacked.at_end { Until::Full } else { Until::LineEnd };
            let offset = self.record.offset;
            let mut lines = self.lines(&mut desk.batch, &mut desk.decoded, now_ns)?;
            let taken = take(&mut lines, data, offset, until);
            let (last_ns, wait_ns, cut, these) = (lines.last_ns, lines.wait_ns, lines.cut, lines.counts);
            (self.last_ns, self.wait_ns, self.cut) = (last_ns, wait_ns, cut);
            counts.add(these);
            counts.bytes += taken as u64;
            let done = unpacked.at_end && taken == data.len();
            let upto = tail_len + taken;
            self.advance(unpacked.held.get(..upto).unwrap_or_default(), tail_len);
            if taken > 0 {
                tail_len = self.record.tail_len as usize;
                unpacked.held.drain(..upto.saturating_sub(tail_len));
            }
            if done {
                self.size = self.metadata()?.len();
                self.ended = true;
                return Ok(Turn::Ended);
            }
            if let Some(turn) = self.pause(desk, now_ns) {
                self.unpacked = Some(unpacked);
                return Ok(turn);
            }
            if counts.bytes >= LONGEST_TURN {
                break;
            }
        }
        self.unpacked = Some(unpacked);
        Ok(Turn::More)
    }

    /// The text behind the position; `None` if the text before it is not what was read.
    fn unpack(
        &mut self,
        packing: Packing,
        desk: &mut Desk,
        now_ns: i64,
        counts: &mut Counts,
    ) -> io::Result<Option<Unpacked>> {
        let file = File::open(&self.place)?;
        let meta = file.metadata()?;
        if (meta.dev(), meta.ino()) != (self.record.device, self.record.inode) {
            return Err(gone());
        }
        let mut text = packing.unpack(file)?;
        let wanted = if self.resumed { Vec::new() } else { self.record.held.clone() };
        let mut again: Vec<(u64, Vec<u8>)> = wanted.iter().map(|(start, _)| (*start, Vec::new())).collect();
        let collect = |at: u64, bytes: &[u8]| {
            for ((start, end), (_, kept)) in wanted.iter().zip(&mut again) {
                let cut = |place: u64| usize::try_from(place.saturating_sub(at)).unwrap_or(usize::MAX).min(bytes.len());
                let room = MOST_HELD.saturating_sub(kept.len());
                let piece = bytes.get(cut(*start)..cut(*end)).unwrap_or_default();
                kept.extend_from_slice(piece.get(..room).unwrap_or(piece));
            }
        };
        let Some((head, tail)) = skip(text.as_mut(), &self.record, collect)? else {
            return Ok(None);
        };
        if !self.resumed {
            self.take_again(&again, desk, now_ns, counts)?;
        }
        self.head = (head.len() < HEAD).then_some(head);
        Ok(Some(Unpacked { text, held: tail, at_end: false }))
    }
}

enum Chunk {
    Taken(usize),
    End,
    Replaced,
    Packed,
}

/// Reads up to a record's position and compares; `each` sees all of it, with where it lies. Gives the bytes that head and tail cover, or `None` if this is another
/// content or too short.
pub(crate) fn skip(
    text: &mut dyn Read,
    record: &Record,
    mut each: impl FnMut(u64, &[u8]),
) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
    let mut head = Vec::new();
    let mut tail = Vec::new();
    let mut left = record.offset;
    let mut block = vec![0; 64 << 10];
    while left > 0 {
        let want = usize::try_from(left).unwrap_or(usize::MAX).min(block.len());
        let n = fill(text, block.get_mut(..want).unwrap_or_default())?;
        let read = block.get(..n).unwrap_or_default();
        each(record.offset - left, read);
        let room = (record.head_len as usize).saturating_sub(head.len()).min(n);
        head.extend_from_slice(read.get(..room).unwrap_or_default());
        if n < want || (head.len() == record.head_len as usize && hash(&head) != record.head && record.head_len > 0) {
            return Ok(None);
        }
        tail.extend_from_slice(read.get(n.saturating_sub(TAIL)..).unwrap_or_default());
        let over = tail.len().saturating_sub(TAIL);
        tail.drain(..over);
        left -= n as u64;
    }
    let over = tail.len().saturating_sub(record.tail_len as usize);
    tail.drain(..over);
    let same = tail.len() == record.tail_len as usize && (tail.is_empty() || hash(&tail) == record.tail);
    Ok(same.then_some((head, tail)))
}

/// How far lines are taken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    /// Whole lines, as long as the batch has room and nothing says wait.
    LineEnd,
    /// The unfinished last one as well.
    Full,
    /// All there is, whatever says wait.
    All,
}

/// Takes lines, and pieces of those that are too long. `offset`: where `data` lies. Gives the bytes taken.
fn take(lines: &mut Lines<'_>, data: &[u8], offset: u64, until: Until) -> usize {
    let (charset, unit, longest) = (lines.charset, lines.charset.unit(), lines.longest());
    let mut at = 0;
    while until == Until::All || !lines.is_full() {
        let part = |len: usize| offset + at as u64..offset + (at + len) as u64;
        let rest = data.get(at..).unwrap_or_default();
        if rest.is_empty() {
            break;
        }
        match charset.line_end(rest) {
            Some(end) if end <= longest + unit => {
                lines.push_piece(rest.get(..end - unit).unwrap_or_default(), part(end), true);
                at += end;
            }
            _ if rest.len() > longest => {
                let cut = charset.cut(rest, longest);
                lines.push_piece(rest.get(..cut).unwrap_or_default(), part(cut), false);
                at += cut;
            }
            _ if until != Until::LineEnd => {
                lines.push_piece(rest, part(rest.len()), true);
                at += rest.len();
            }
            _ => break,
        }
    }
    at
}

/// Whether a file still begins as a record says.
fn has_head(file: &File, record: &Record) -> io::Result<bool> {
    let mut bytes = [0; HEAD];
    let head = bytes.get_mut(..record.head_len as usize).unwrap_or_default();
    Ok(read_at(file, head, 0)? == head.len() && (head.is_empty() || hash(head) == record.head))
}

/// Reads until the buffer is full or the file ends.
pub(crate) fn read_at(file: &File, buf: &mut [u8], at: u64) -> io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, at + done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "it is not in its place any more")
}
