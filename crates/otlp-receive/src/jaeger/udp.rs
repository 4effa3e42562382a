//! Jaeger's datagrams: a call of the agent each, which nobody answers.
//!
//! Keeps true: a datagram that is not taken is counted by its reason, and so are those that the kernel dropped because they
//! came faster than they were read.

use std::time::Duration;

use net::DatagramLosses;
use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

use super::{read_datagram, thrift::Protocol};
use crate::{config::ThriftForm, door::Door, refusal::Refusal, sheaf::Sheaf};

/// What the kernel may have kept when it is time to stop.
const LAST: usize = 10_000;

const LOSSES_ARE_COUNTED: Duration = Duration::from_secs(5);

/// Until `stop`. What the kernel has by then is taken still.
pub(crate) async fn serve(
    socket: UdpSocket,
    door: &Door,
    form: ThriftForm,
    max_packet: usize,
    stop: &CancellationToken,
) {
    let protocol = match form {
        ThriftForm::Binary => Protocol::Binary,
        ThriftForm::Compact => Protocol::Compact,
    };
    // One byte more than is taken: what fills it was longer.
    let mut buffer = vec![0; max_packet.min(65_507) + 1];
    let mut losses = DatagramLosses::new(&socket);
    let mut ticks = tokio::time::interval(LOSSES_ARE_COUNTED);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let received = tokio::select! {
            received = socket.recv_from(&mut buffer) => received,
            () = stop.cancelled() => break,
            _ = ticks.tick() => {
                door.counts.lost(losses.more());
                continue;
            }
        };
        match received {
            Ok((len, _)) => take(door, buffer.get(..len).unwrap_or_default(), max_packet, protocol).await,
            Err(error) => {
                tracing::warn!(%error, "receiving datagrams; trying again");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    for _ in 0..LAST {
        let Ok((len, _)) = socket.try_recv_from(&mut buffer) else { break };
        take(door, buffer.get(..len).unwrap_or_default(), max_packet, protocol).await;
    }
    door.counts.lost(losses.more());
}

async fn take(door: &Door, datagram: &[u8], max_packet: usize, protocol: Protocol) {
    if let Err(refusal) = keep(door, datagram, max_packet, protocol).await {
        door.counts.refused(&refusal);
        tracing::debug!(why = %refusal, "a datagram is not taken");
    }
}

async fn keep(door: &Door, datagram: &[u8], max_packet: usize, protocol: Protocol) -> Result<(), Refusal> {
    door.admits(model::otlp::Signal::Traces)?;
    if datagram.len() > max_packet {
        return Err(Refusal::TooLarge { limit: max_packet });
    }
    let mut held = door.room.hold();
    let mut sheaf = Sheaf::new(&mut held);
    read_datagram(datagram, protocol, &mut sheaf)?;
    door.keep_soon(sheaf.finish()?, datagram.len()).await
}
