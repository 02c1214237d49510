//! Every so often: recount all sums, and list everything anew to find what no event told us.

use std::sync::Arc;
use std::time::Duration;

use crate::k8s::WatchHealth;
use crate::k8s::kinds::kinds;
use crate::model::Kind;
use crate::runtime::WriterHandle;

/// Between the lists of two kinds, so that they do not come as one burst.
const BETWEEN_KINDS: Duration = Duration::from_secs(1);

/// Runs for as long as there is a writer.
pub(super) async fn run(writer: WriterHandle, health: Arc<WatchHealth>, interval: Duration) {
    loop {
        // Replicas that started together must not list together.
        tokio::time::sleep(interval.mul_f64(0.9 + fastrand::f64() * 0.2)).await;
        let is_listed = |kind: &Kind| kind.is_required() || health.kind(*kind).listed;
        for kind in kinds().filter(is_listed) {
            health.request_relist(kind);
            tokio::time::sleep(BETWEEN_KINDS).await;
        }
        let Some(differences) = writer.audit().await else {
            return;
        };
        for it in differences {
            tracing::error!(sum = it.what, rows = it.rows, "a recount differed and was taken over");
        }
    }
}
