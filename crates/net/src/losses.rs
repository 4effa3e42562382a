//! How many datagrams the kernel dropped because nobody read them in time.
//!
//! Source: `/proc/net/udp` and `udp6`, whose last column counts the drops of each socket, which its inode names. Where there
//! is no such file nothing is counted.

use std::{fs, os::fd::AsFd};

/// One socket's drops.
#[derive(Debug)]
pub struct DatagramLosses {
    inode: Option<u64>,
    known: u64,
}

impl DatagramLosses {
    /// Of this socket. What was lost before is not counted: a predecessor on the socket did.
    pub fn new(socket: &impl AsFd) -> Self {
        let inode = rustix::fs::fstat(socket).ok().map(|stat| stat.st_ino);
        let mut losses = Self { inode, known: 0 };
        // Those of a predecessor on this socket were counted by it.
        losses.more();
        losses
    }

    /// Drops since the last call.
    pub fn more(&mut self) -> u64 {
        let Some(inode) = self.inode else { return 0 };
        let tables = ["/proc/self/net/udp", "/proc/self/net/udp6"];
        let all = tables.iter().find_map(|table| drops(&fs::read_to_string(table).ok()?, inode));
        let Some(all) = all else { return 0 };
        let more = all.saturating_sub(self.known);
        self.known = all;
        more
    }
}

fn drops(table: &str, inode: u64) -> Option<u64> {
    let row = |line: &str| {
        // sl local rem st tx:rx tr:when retransmits uid timeout inode ref pointer drops
        let words: Vec<&str> = line.split_whitespace().collect();
        (words.get(9)?.parse::<u64>().ok()? == inode).then(|| words.get(12)?.parse().ok())?
    };
    table.lines().skip(1).find_map(row)
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn a_row_is_found_by_its_inode() {
        let table = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n\
             1: 0100007F:1F90 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 71 2 0000000000000000 5\n\
             2: 0100007F:1F91 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 72 2 0000000000000000 9\n";
        assert_eq!((drops(table, 72), drops(table, 73)), (Some(9), None));
    }

    #[test]
    fn what_nobody_reads_is_counted_once() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut losses = DatagramLosses::new(&socket);
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        let datagram = vec![b'x'; 8000];
        for _ in 0..2000 {
            sender.send_to(&datagram, socket.local_addr().unwrap()).unwrap();
        }
        if fs::metadata("/proc/self/net/udp").is_ok() {
            let lost = losses.more();
            assert!(lost > 0 && lost < 2000, "{lost}");
            assert_eq!(losses.more(), 0);
        }
    }
}
