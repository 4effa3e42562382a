//! The names of attributes that mean something to X-Ray, each with a number.
//!
//! A name is told from one multiplication and one comparison; what is looked for by name is a bit then. It keeps true: a name
//! that is asked for with [`key!`] is in the list, or this does not compile.

/// One of [`NAMES`], by its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key(u8);

/// Some of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Keys(u128);

/// The key of this name.
macro_rules! key {
    ($name:literal) => {
        const { $crate::known::Key::of($name) }
    };
}
/// A list of keys.
macro_rules! keys {
    ($($name:literal),* $(,)?) => {
        const { [$($crate::known::Key::of($name)),*] }
    };
}
pub(crate) use {key, keys};

pub(crate) const COUNT: usize = 102;

/// In the order of the alphabet.
const NAMES: [&str; COUNT] = [
    "K8s.RemoteNamespace",
    "aws.account_id",
    "aws.dynamodb.table_names",
    "aws.ecs.cluster.arn",
    "aws.ecs.container.arn",
    "aws.ecs.launchtype",
    "aws.ecs.task.arn",
    "aws.ecs.task.family",
    "aws.http.error_message",
    "aws.local.service",
    "aws.log.group.arns",
    "aws.log.group.names",
    "aws.operation",
    "aws.queue.url",
    "aws.queue_url",
    "aws.region",
    "aws.remote.operation",
    "aws.remote.service",
    "aws.requestId",
    "aws.request_id",
    "aws.service",
    "aws.span.kind",
    "aws.sqs.queue.url",
    "aws.table.name",
    "aws.table_name",
    "aws.xray.annotations",
    "aws.xray.inprogress",
    "client.address",
    "cloud.account.id",
    "cloud.availability_zone",
    "cloud.platform",
    "cloud.provider",
    "cloud.region",
    "container.id",
    "container.image.tag",
    "container.image.tags",
    "container.name",
    "db.connection_string",
    "db.name",
    "db.namespace",
    "db.query.text",
    "db.statement",
    "db.system",
    "db.system.name",
    "db.user",
    "enduser.id",
    "exception.message",
    "exception.stacktrace",
    "exception.type",
    "host.id",
    "host.image.id",
    "host.name",
    "host.type",
    "http.client_ip",
    "http.host",
    "http.method",
    "http.request.method",
    "http.response.body.size",
    "http.response.status_code",
    "http.response_content_length",
    "http.scheme",
    "http.server_name",
    "http.status_code",
    "http.status_text",
    "http.target",
    "http.url",
    "http.user_agent",
    "k8s.cluster.name",
    "k8s.pod.name",
    "message.type",
    "messaging.message.body.size",
    "messaging.message_payload_size_bytes",
    "messaging.url",
    "net.host.name",
    "net.host.port",
    "net.peer.ip",
    "net.peer.name",
    "net.peer.port",
    "network.peer.address",
    "network.peer.port",
    "peer.service",
    "remoteTarget",
    "rpc.method",
    "rpc.service",
    "rpc.system",
    "rpc.system.name",
    "server.address",
    "server.port",
    "service.instance.id",
    "service.name",
    "service.namespace",
    "service.version",
    "telemetry.auto.version",
    "telemetry.distro.version",
    "telemetry.sdk.language",
    "telemetry.sdk.name",
    "telemetry.sdk.version",
    "url.full",
    "url.path",
    "url.query",
    "url.scheme",
    "user_agent.original",
];

/// Places in [`NAMES`], plus one, by hash; 0: none. Larger than it has to be, so that few names share a place.
const TABLE: [u8; 512] = table();

#[inline]
const fn hash(name: &[u8]) -> usize {
    let word = match name.last_chunk::<8>() {
        Some(last) => u64::from_le_bytes(*last),
        None => {
            let (mut rest, mut word) = (name, 0);
            while let [first, more @ ..] = rest {
                word = (word << 8) | *first as u64;
                rest = more;
            }
            word
        }
    };
    let mixed = (word ^ (name.len() as u64)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    // Nine bits are left.
    (mixed >> 55) as usize
}

#[allow(clippy::indexing_slicing, clippy::cast_possible_truncation)] // while it is compiled
const fn table() -> [u8; 512] {
    let mut table = [0; 512];
    let mut at = 0;
    while at < COUNT {
        let mut place = hash(NAMES[at].as_bytes());
        while table[place] != 0 {
            place = (place + 1) % table.len();
        }
        table[place] = at as u8 + 1;
        at += 1;
    }
    table
}

#[allow(clippy::indexing_slicing)] // while it is compiled
const fn is_same(a: &[u8], b: &[u8]) -> bool {
    let mut at = 0;
    while at < a.len() && at < b.len() && a[at] == b[at] {
        at += 1;
    }
    a.len() == b.len() && at == a.len()
}

impl Key {
    /// For [`key!`].
    #[allow(clippy::indexing_slicing, clippy::cast_possible_truncation)] // while it is compiled
    pub(crate) const fn of(name: &str) -> Self {
        let mut at = 0;
        while !is_same(NAMES[at].as_bytes(), name.as_bytes()) {
            at += 1;
        }
        Self(at as u8)
    }

    /// `None`: nobody looks for it by its name.
    #[inline]
    pub(crate) fn named(name: &[u8]) -> Option<Self> {
        let mut place = hash(name);
        loop {
            let key = Self(TABLE.get(place)?.checked_sub(1)?);
            if key.name().as_bytes() == name {
                return Some(key);
            }
            place = (place + 1) % TABLE.len();
        }
    }

    #[inline]
    pub(crate) fn name(self) -> &'static str {
        NAMES.get(self.place()).copied().unwrap_or_default()
    }

    #[inline]
    pub(crate) fn place(self) -> usize {
        usize::from(self.0)
    }
}

impl Keys {
    pub(crate) const fn of<const N: usize>(names: [&str; N]) -> Self {
        let (mut rest, mut bits): (&[&str], u128) = (&names, 0);
        while let [first, more @ ..] = rest {
            bits |= 1 << Key::of(first).0;
            rest = more;
        }
        Self(bits)
    }

    #[inline]
    pub(crate) fn has(self, key: Key) -> bool {
        self.0 & (1 << key.0) != 0
    }

    #[inline]
    pub(crate) fn has_any(self, others: Self) -> bool {
        self.0 & others.0 != 0
    }

    #[inline]
    pub(crate) fn add(&mut self, key: Key) {
        self.0 |= 1 << key.0;
    }

    #[inline]
    pub(crate) fn add_all(&mut self, others: Self) {
        self.0 |= others.0;
    }

    #[inline]
    pub(crate) fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_has_its_own_key_and_others_have_none() {
        assert!(NAMES.is_sorted());
        for (at, name) in NAMES.iter().enumerate() {
            let key = Key::named(name.as_bytes()).unwrap();
            assert_eq!((key.place(), key), (at, Key::of(name)), "{name}");
            for other in [format!("{name}x"), format!("x{name}"), name[1..].to_owned(), name.to_uppercase()] {
                assert!(Key::named(other.as_bytes()).is_none_or(|found| NAMES[found.place()] == other), "{other}");
            }
        }
        assert_eq!([Key::named(b""), Key::named(b"thread.id")], [None, None]);
        let mut some = Keys::of(["db.name", "url.full"]);
        assert!(some.has(key!("db.name")) && !some.has(key!("db.user")));
        some.add(key!("db.user"));
        assert!(some.has_any(Keys::of(["db.user"])) && !some.without(Keys::of(["db.user"])).has(key!("db.user")));
    }
}
