//! The sandbox's life: start, what may be asked of it and done to it from the same process, stop.

use std::{
    future::Future,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    arrivals::State,
    authority::server_from_pem,
    clock::Clock,
    config::SandboxConfig,
    core::{Core, Scope},
    error::SandboxError,
    fault::Fault,
    identity::Identity,
    listen::{Hall, Role, bind},
    objects::ObjectState,
    records::KeptRecord,
    series::SeriesDump,
    world::World,
};

/// The way in.
#[derive(Debug)]
pub struct Sandbox;

/// A sandbox that listens. Dropping it stops it without waiting; [`Running::stop`] waits.
#[derive(Debug)]
pub struct Running {
    core: Arc<Core>,
    address: SocketAddr,
    tls_address: Option<SocketAddr>,
    proxy_address: Option<SocketAddr>,
    welcome: String,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Sandbox {
    /// Opens the listeners and starts to answer.
    ///
    /// # Errors
    /// An address that is taken, a certificate that cannot be used, a directory that cannot be written.
    pub async fn start(config: SandboxConfig) -> Result<Running, SandboxError> {
        let core = Arc::new(Core::new(&config)?);
        let hall = Hall { core: Arc::clone(&core), stop: CancellationToken::new(), tasks: TaskTracker::new() };
        let mut listeners = Vec::new();
        let (listener, address) = bind(config.listen).await?;
        listeners.push((listener, Role::Plain));
        let mut tls_address = None;
        if let Some(tls) = &config.tls {
            let server = server_from_pem(&tls.certificate_pem, tls.key_pem.expose())?;
            let (listener, address) = bind(tls.listen).await?;
            listeners.push((listener, Role::Tls(server)));
            tls_address = Some(address);
        }
        let mut proxy_address = None;
        if let Some(proxy) = &config.proxy {
            let (listener, address) = bind(proxy.listen).await?;
            let hosts = proxy.hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
            listeners.push((listener, Role::Proxy { authority: proxy.authority.clone(), hosts }));
            proxy_address = Some(address);
        }
        for (listener, role) in listeners {
            hall.tasks.spawn(hall.clone().accept(listener, role));
        }
        let welcome = welcome(&config, address, tls_address, proxy_address);
        Ok(Running {
            core,
            address,
            tls_address,
            proxy_address,
            welcome,
            stop: hall.stop.clone(),
            tasks: hall.tasks.clone(),
        })
    }
}

/// Runs a sandbox until `shutdown` resolves. `started` sees it once it listens (to print [`Running::welcome`]).
///
/// # Errors
/// Those of [`Sandbox::start`].
pub async fn run(
    config: SandboxConfig,
    started: impl FnOnce(&Running),
    shutdown: impl Future<Output = ()>,
) -> Result<(), SandboxError> {
    let running = Sandbox::start(config).await?;
    started(&running);
    shutdown.await;
    running.stop().await;
    Ok(())
}

impl Running {
    /// The plain HTTP listener's address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT`, without a trailing slash. The page is at its root.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The TLS listener's address, if there is one.
    pub fn tls_address(&self) -> Option<SocketAddr> {
        self.tls_address
    }

    /// The CONNECT proxy's address, if there is one.
    pub fn proxy_address(&self) -> Option<SocketAddr> {
        self.proxy_address
    }

    /// A workspace's remote-write URL on the plain listener.
    pub fn remote_write_url(&self, workspace: &str) -> String {
        format!("{}/workspaces/{workspace}/api/v1/remote_write", self.url())
    }

    /// What a newcomer needs to know, with a configuration to paste. Shows the example key's secret and no other.
    pub fn welcome(&self) -> &str {
        &self.welcome
    }

    /// The names of the services that are played, as the state and faults have them.
    pub fn services(&self) -> Vec<&'static str> {
        crate::service::ALL.iter().map(|service| service.name()).collect()
    }

    /// Everything known at this moment, with up to 1000 series and objects.
    pub fn state(&self) -> State {
        self.core.state(&Scope { series: 1000, objects: 1000, metric: None })
    }

    /// Every recorded sample, of one destination (`aps:ws-EXAMPLE`, `s3:bucket`, `prometheus:/api/v1/write`) and one
    /// metric if given. Empty sample lists unless [`SandboxConfig::record`] is set.
    pub fn samples(&self, destination: Option<&str>, metric: Option<&str>) -> Vec<SeriesDump> {
        self.core.series.lock().dump(destination, metric, None)
    }

    /// The recorded samples that this verified caller (an ARN, of a session with its name) was the first to send.
    pub fn samples_of(&self, caller_arn: &str) -> Vec<SeriesDump> {
        self.core.series.lock().dump(None, None, Some(caller_arn))
    }

    /// Every record kept (log lines, spans), of one destination and one verified caller if given. Empty unless
    /// [`SandboxConfig::record`] is set.
    pub fn records(&self, destination: Option<&str>, caller_arn: Option<&str>) -> Vec<KeptRecord> {
        self.core.records.lock().dump(destination, caller_arn)
    }

    /// All objects, newest first.
    pub fn objects(&self) -> Vec<ObjectState> {
        self.core.objects.lock().latest(usize::MAX)
    }

    /// One object's bytes.
    pub fn object(&self, bucket: &str, key: &str) -> Option<Bytes> {
        let object = self.core.objects.lock().get(bucket, key).cloned()?;
        object.read().ok()
    }

    /// Scripts trouble. False when a thousand faults wait already.
    pub fn fault(&self, fault: Fault) -> bool {
        self.core.faults.lock().add(fault)
    }

    /// Adds a key, or changes it.
    pub fn put_identity(&self, identity: Identity) {
        self.core.identities.write().put(identity);
    }

    /// Removes a key; false when there was none.
    pub fn remove_identity(&self, access_key_id: &str) -> bool {
        self.core.identities.write().remove(access_key_id)
    }

    /// Ends a key's validity at `at`; false when there is no such key.
    pub fn expire(&self, access_key_id: &str, at: SystemTime) -> bool {
        self.core.identities.write().expire(access_key_id, at)
    }

    /// Adds to the world, or changes it: items replace those of the same name.
    ///
    /// # Errors
    /// [`SandboxError::World`] when an item is unusable; nothing is changed then.
    pub fn put_world(&self, world: World) -> Result<(), SandboxError> {
        let what = match world.problem() {
            None if self.core.world.write().merge(world) => return Ok(()),
            None => "it would have more than a thousand items of one kind".to_owned(),
            Some(what) => what,
        };
        Err(SandboxError::World { what })
    }

    /// Makes a log group, and a stream in it, as their owner would.
    pub fn put_log_group(&self, group: &str, stream: Option<&str>) {
        self.core.log_groups.lock().put(group, stream, self.core.clock.now_ms());
    }

    /// From now on no new session lives longer than this; zero: as long as asked for.
    pub fn shorten_sessions(&self, longest: Duration) {
        self.core.sessions.set_longest_ms(i64::try_from(longest.as_millis()).unwrap_or(i64::MAX));
    }

    /// Ends the sessions of a role (`None`: of all roles) now; how many were still valid.
    pub fn expire_sessions(&self, role_arn: Option<&str>) -> usize {
        self.core.expire_sessions(role_arn)
    }

    /// The next reading of each instance's and container's document gives a new session; the old ones stay valid.
    pub fn rotate_documents(&self) {
        self.core.sessions.rotate();
    }

    /// The sandbox's clock, to shift it.
    pub fn clock(&self) -> &Clock {
        &self.core.clock
    }

    /// Forgets what arrived and the waiting faults. Identities stay.
    pub fn reset(&self) {
        self.core.reset();
    }

    /// Waits until `condition` holds of the state, looking again whenever something arrives; false after `patience`.
    pub async fn wait_until(&self, patience: Duration, mut condition: impl FnMut(&State) -> bool) -> bool {
        let mut changes = self.core.changes();
        let holds = async {
            while !condition(&self.state()) {
                if changes.changed().await.is_err() {
                    return false;
                }
            }
            true
        };
        tokio::time::timeout(patience, holds).await.unwrap_or(false)
    }

    /// Stops listening, lets answers that are under way finish, and waits for all connections to end.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn welcome(
    config: &SandboxConfig,
    address: SocketAddr,
    tls_address: Option<SocketAddr>,
    proxy_address: Option<SocketAddr>,
) -> String {
    let mut text = format!("sandbox: what arrives is shown at http://{address}/\n");
    if let Some(address) = tls_address {
        text.push_str(&format!("sandbox: the same over TLS at https://{address}/\n"));
    }
    if let Some(address) = proxy_address {
        text.push_str(&format!("sandbox: plays *.amazonaws.com for clients with HTTPS_PROXY=http://{address}\n"));
    }
    let Some(identity) = config.identities.first() else {
        text.push_str("sandbox: no access key is configured, so every signed request will be refused\n");
        return text;
    };
    let secret = match identity.secret_access_key.expose() {
        Identity::EXAMPLE_SECRET => Identity::EXAMPLE_SECRET,
        _ => "the secret you configured",
    };
    text.push_str(&format!(
        "\nSend metrics to it with:\n\n  remote_write:\n    - url: http://{address}/workspaces/ws-EXAMPLE/api/v1/remote_write\n      \
         sigv4:\n        region: {}\n        access_key: {}\n        secret_key: {secret}\n        service_name: aps\n",
        config.region.as_deref().unwrap_or("us-east-1"),
        identity.access_key_id,
    ));
    text
}
