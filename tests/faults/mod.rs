//! What may go wrong between sigma and the API server. Each test is named by its row in
//! `docs/failure-modes.md`, which is made of what stands above the tests.

mod lists;
mod outage;
mod proxy;
mod refused;
mod restored;
mod writes;

use std::process::Command;

pub(crate) use proxy::{Fault, Proxy};

use crate::site::Site;
use crate::support::apiserver::kubeconfig;
use crate::support::process::Sigma;

/// A site whose API server is reached through a proxy.
struct Spoiled {
    site: Site,
    proxy: Proxy,
}

impl Spoiled {
    fn new() -> Self {
        let site = Site::new();
        let proxy = Proxy::start(site.api.port);
        Self { site, proxy }
    }

    fn command(&self, more: &[&str]) -> Command {
        let command = self.site.command(more);
        // The file that it names leads through the proxy from now on.
        kubeconfig(self.site.dir.path(), self.proxy.port);
        command
    }

    fn start(&self, more: &[&str]) -> Sigma {
        Sigma::start(self.command(more))
    }

    fn serve(&self, more: &[&str]) -> Sigma {
        let sigma = self.start(more);
        sigma.wait_ready();
        sigma
    }
}
