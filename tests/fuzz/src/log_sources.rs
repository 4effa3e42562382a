//! What log sources read: syslog streams, push requests, what buckets and queues say, containers' output.
//!
//! The checks need the insides of the sources, which open a door for them.

/// A TCP stream of syslog messages.
pub fn syslog_stream(data: &[u8]) {
    log_receive::fuzz::syslog(data);
}

/// A push request as protobuf, unpacked.
pub fn loki_push_message(data: &[u8]) {
    log_receive::fuzz::push_message(data);
}

/// A push request as JSON.
pub fn loki_push_json(data: &[u8]) {
    log_receive::fuzz::push_json(data);
}

/// S3 events, lists of buckets and the lines of objects.
pub fn log_objects(data: &[u8]) {
    log_receive::fuzz::objects(data);
}

/// The output of a container, as its engine gives it.
pub fn docker_output(data: &[u8]) {
    log_receive::fuzz::docker(data);
}
