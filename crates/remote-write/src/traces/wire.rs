//! The protocols of OTLP destinations, seen alike: how pieces become a body and a body a request, what the answers mean. One
//! file each under `protocol`.
//!
//! They send nothing, and book nothing.

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use model::otlp::Signal;

use super::{
    OtlpProtocol,
    cargo::{Cargo, Limits},
};
use crate::{
    DestinationConfig,
    logs::{head::Address, wire::LogVerdict},
    protocol::{
        Extent, cloudwatch::Founder, otlp_grpc::OtlpGrpc, otlp_http::OtlpHttp, otlp_objects::OtlpObjects, s3,
        send_address, xray::XRay,
    },
};

/// See the file's head.
#[derive(Debug)]
pub(crate) enum Wire {
    Http(OtlpHttp),
    Grpc(OtlpGrpc),
    XRay(XRay),
    Objects(OtlpObjects),
}

impl Wire {
    pub(crate) fn new(config: &DestinationConfig, protocol: &OtlpProtocol) -> Self {
        let address = send_address(&config.url, config.endpoint_url.as_ref());
        let limits = Limits { items: config.batching.max_samples.max(1), bytes: config.batching.max_bytes.max(1) };
        match protocol {
            OtlpProtocol::Http(http) => Self::Http(OtlpHttp::new(address, &config.url, http.clone(), limits)),
            OtlpProtocol::Grpc(grpc) => Self::Grpc(OtlpGrpc::new(address, grpc.clone(), limits)),
            OtlpProtocol::XRay(xray) => Self::XRay(XRay::new(address, xray.clone())),
            OtlpProtocol::Objects(objects) => {
                let address = s3::address(&config.url, config.endpoint_url.as_ref());
                Self::Objects(OtlpObjects::new(address, objects.clone()))
            }
        }
    }

    /// Whether a request is named by its items' place in the queue.
    pub(crate) fn names_by_place(&self) -> bool {
        matches!(self, Self::Objects(_))
    }

    /// Whether requests of one sender have to follow each other: X-Ray puts traces together by their ids.
    pub(crate) fn keeps_order(&self) -> bool {
        !matches!(self, Self::XRay(_))
    }

    /// Whether there is a place for this signal.
    pub(crate) fn takes(&self, signal: Signal) -> bool {
        match self {
            Self::Http(wire) => wire.takes(signal),
            Self::Grpc(_) | Self::Objects(_) => true,
            Self::XRay(_) => signal == Signal::Traces,
        }
    }

    /// What one request holds at most.
    pub(crate) fn limits(&self) -> Limits {
        match self {
            Self::Http(wire) => wire.limits(),
            Self::Grpc(wire) => wire.limits(),
            Self::XRay(_) | Self::Objects(_) => Limits { items: usize::MAX, bytes: usize::MAX },
        }
    }

    /// The body, compressed.
    pub(crate) fn encode(&self, signal: Signal, cargo: &Cargo<'_>) -> Bytes {
        match (self, cargo) {
            (Self::Http(wire), Cargo::Pieces(pieces)) => wire.encode(pieces),
            (Self::Grpc(wire), Cargo::Pieces(pieces)) => wire.encode(pieces),
            (Self::Objects(wire), Cargo::Pieces(pieces)) => wire.encode(signal, pieces),
            (Self::XRay(_), Cargo::Spans(documents)) => documents.body(),
            // Cargo is made by the same protocol that encodes it.
            (Self::XRay(_), Cargo::Pieces(_)) | (_, Cargo::Spans(_)) => Bytes::new(),
        }
    }

    /// The request without identity. `extent`: where the items lie in the queue, if the protocol wants to know.
    pub(crate) fn request(
        &self,
        signal: Signal,
        body: &Bytes,
        items: u64,
        extent: Option<&Extent>,
    ) -> Result<Request<Bytes>, http::Error> {
        match self {
            Self::Http(wire) => wire.request(signal, body),
            Self::Grpc(wire) => wire.request(signal, body),
            Self::XRay(wire) => wire.request(body),
            Self::Objects(wire) => wire.request(signal, body, items, extent),
        }
    }

    /// A request that stores nothing: without items.
    pub(crate) fn probe(&self) -> Result<Request<Bytes>, http::Error> {
        let signal = [Signal::Traces, Signal::Metrics, Signal::Logs].into_iter().find(|signal| self.takes(*signal));
        let signal = signal.unwrap_or(Signal::Traces);
        let none = match self {
            // A list without documents is refused like a list that may not be sent; this one is looked at.
            Self::XRay(_) => Bytes::from_static(b"{\"TraceSegmentDocuments\":[\"{}\"]}"),
            _ => self.encode(signal, &Cargo::Pieces(Vec::new())),
        };
        self.request(signal, &none, 0, None)
    }

    /// What the answer means for the items of a request.
    pub(crate) fn judge(&self, status: StatusCode, headers: &HeaderMap, body: &[u8], cargo: &Cargo<'_>) -> LogVerdict {
        let items = usize::try_from(cargo.items()).unwrap_or(usize::MAX);
        match (self, cargo) {
            (Self::Http(wire), _) => wire.judge(status, headers, body, items),
            (Self::Grpc(wire), _) => wire.judge(status, headers, body, items),
            (Self::Objects(wire), _) => wire.judge(status, headers, body),
            (Self::XRay(wire), Cargo::Spans(documents)) => wire.judge(status, headers, body, &documents.spans),
            (Self::XRay(wire), Cargo::Pieces(_)) => wire.judge(status, headers, body, &[]),
        }
    }

    /// How a missing log group and stream are made, where that is wanted, and which.
    pub(crate) fn founder(&self) -> Option<(&Founder, &Address)> {
        match self {
            Self::Http(wire) => wire.founder(),
            _ => None,
        }
    }
}
