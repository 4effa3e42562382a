//! Files of destinations' and scrape jobs' clients that cannot be used now: certificates, keys, trusted authorities.
//!
//! Reads them as the agent would and sends nothing. Keeps true: what it tells is no error of the configuration, since the files
//! may be there when the agent starts, or be readable for its user alone.

use config::Plan;

/// One line for each destination and each scrape job that would be in error, with what to do.
pub fn complaints(plan: &Plan) -> Vec<String> {
    let of_job = |(job, _): &(scrape::JobConfig, _)| {
        let error = net::Client::new(&job.client, net::ClientOptions::default()).err()?;
        Some(format!(
            "warning: job {}: {error}\n = help: started like this, its https targets are down until the file is right; the others go on",
            job.job_name
        ))
    };
    let mut all = of_destinations(plan);
    all.extend(plan.metrics.iter().flat_map(|route| &route.jobs).filter_map(of_job));
    all
}

fn of_destinations(plan: &Plan) -> Vec<String> {
    let of_metrics = plan.metrics.iter().flat_map(|route| &route.destinations);
    let of_logs = plan.logs.iter().flat_map(|route| &route.destinations);
    let of_traces = plan.traces.iter().flat_map(|route| &route.destinations);
    of_metrics
        .chain(of_logs)
        .chain(of_traces)
        .filter(|destination| destination.enabled)
        .filter_map(|destination| {
            let client = &destination.config.client;
            let error = net::Client::new(client, net::ClientOptions::default()).err()?;
            Some(format!(
                "warning: destination {}: {error}\n = help: started like this, it holds its data and tries again; the others go on",
                destination.config.name
            ))
        })
        .collect()
}
