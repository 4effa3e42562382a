//! Who reads what in this process: all that the routes know of one another.
//!
//! Each route keeps positions of its own, so that a file that several want is read by each. Here a route learns what others
//! want before it takes a file for a rotated one of its own, and two jobs that read one file are told of once.
//!
//! Keeps true: what a route that ended wanted is nobody's any more; a route that was announced and does not come is waited for
//! as long as its readers wait for a slow discovery.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use crate::Target;

/// Route and job.
type Reader = (Arc<str>, Arc<str>);

/// Shared by the routes of one process.
#[derive(Default)]
pub struct Readership {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// By route.
    routes: HashMap<Arc<str>, Wanted>,
    /// Device and inode of files that are read, and who read them first.
    read: HashMap<(u64, u64), Reader>,
    told: HashSet<(Reader, Reader)>,
}

struct Wanted {
    /// The tail that said so; 0: none did yet.
    tail: u64,
    targets: Vec<Arc<Vec<Target>>>,
    /// Since when something is not said yet.
    silent: Option<Instant>,
}

impl Readership {
    /// A route will come: nobody takes what it may want, for a while.
    pub fn expect(&self, route: &str) {
        let coming = || Wanted { tail: 0, targets: Vec::new(), silent: Some(Instant::now()) };
        self.state.lock().routes.entry(Arc::from(route)).or_insert_with(coming);
    }

    /// What the jobs of a route want now. `silent`: since when one of them has not said it.
    pub(crate) fn publish(&self, route: &Arc<str>, tail: u64, targets: Vec<Arc<Vec<Target>>>, silent: Option<Instant>) {
        self.state.lock().routes.insert(route.clone(), Wanted { tail, targets, silent });
    }

    pub(crate) fn leave(&self, route: &Arc<str>, tail: u64) {
        let mut state = self.state.lock();
        if state.routes.get(route).is_some_and(|wanted| wanted.tail == tail) {
            state.routes.remove(route);
            state.read.retain(|_, (reader, _)| reader != route);
        }
    }

    /// Whether another route wants a path.
    pub(crate) fn is_wanted(&self, path: &Path, but: &str) -> bool {
        let state = self.state.lock();
        let others = state.routes.iter().filter(|(route, _)| ***route != *but);
        others.flat_map(|(_, wanted)| &wanted.targets).any(|targets| targets.iter().any(|target| target.wants(path)))
    }

    /// Whether another route may still say that it wants something.
    pub(crate) fn is_silent(&self, but: &str, patience: Duration) -> bool {
        let state = self.state.lock();
        let mut others = state.routes.iter().filter(|(route, _)| ***route != *but);
        others.any(|(_, wanted)| wanted.silent.is_some_and(|since| since.elapsed() < patience))
    }

    /// A job begins to read a file. Says once of two jobs that they read the same; true if it did now.
    pub(crate) fn begins(&self, file: (u64, u64), path: &Path, route: &Arc<str>, job: &Arc<str>) -> bool {
        let mut state = self.state.lock();
        let reader = (route.clone(), job.clone());
        let Some(other) = state.read.get(&file).cloned() else {
            state.read.insert(file, reader);
            return false;
        };
        let pair = if other < reader { (other.clone(), reader.clone()) } else { (reader.clone(), other.clone()) };
        let news = other != reader && state.told.insert(pair);
        if news {
            tracing::info!(
                path = %path.display(), logs_config = %reader.0, job = %reader.1, other_logs_config = %other.0, other_job = %other.1,
                "two jobs read the same log file: each keeps a position of its own, and its lines are sent by both"
            );
        }
        news
    }

    pub(crate) fn ends(&self, file: (u64, u64), route: &Arc<str>, job: &Arc<str>) {
        let mut state = self.state.lock();
        if state.read.get(&file).is_some_and(|(of, by)| (of, by) == (route, job)) {
            state.read.remove(&file);
        }
    }
}

impl std::fmt::Debug for Readership {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Readership({} routes)", self.state.lock().routes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_jobs_that_read_one_file_are_told_of_once() {
        let readership = Readership::default();
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let begins = |file, route: &Arc<str>, job: &Arc<str>| readership.begins((1, file), Path::new("/x"), route, job);
        assert!(!begins(1, &a, &a), "one alone");
        assert!(!begins(1, &a, &a), "the same once more");
        assert!(begins(1, &b, &a), "another route");
        assert!(!begins(2, &b, &a) && !begins(2, &a, &a), "the same two, another file");
        assert!(begins(1, &a, &b), "another job of the route");
        readership.ends((1, 1), &a, &a);
        assert!(!begins(1, &b, &b), "nobody reads it any more");
    }

    #[test]
    fn who_was_announced_is_waited_for_until_it_speaks_or_patience_is_over() {
        let readership = Readership::default();
        let long = Duration::from_secs(600);
        readership.expect("a");
        assert!(!readership.is_silent("a", long), "nobody waits for itself");
        assert!(readership.is_silent("b", long) && !readership.is_silent("b", Duration::ZERO));
        readership.publish(&Arc::from("a"), 7, Vec::new(), None);
        readership.expect("a");
        assert!(!readership.is_silent("b", long));
        readership.leave(&Arc::from("a"), 6);
        readership.expect("a");
        assert!(!readership.is_silent("b", long), "an older tail of the route does not take it away");
    }
}
