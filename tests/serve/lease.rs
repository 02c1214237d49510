//! Which of several replicas acts for the whole cluster.

use serde_json::{Value, json};

use crate::site::Site;
use crate::support::process::Sigma;
use crate::support::wait;

const LEASE: [&str; 1] = ["--lease-namespace=shop"];

fn lease_of(sigma: &Sigma) -> Value {
    sigma.json("/api/v1/status")["lease"].take()
}

fn leads(sigma: &Sigma) -> bool {
    lease_of(sigma)["is_leader"] == true
}

#[test]
fn one_of_two_replicas_leads_and_the_other_takes_over_when_it_stops() {
    let site = Site::new();
    let mut first = site.serve(&LEASE);
    wait("the first leads", || leads(&first));
    first.wait_metric("sigma_leader", 1.0);
    let second = site.serve(&LEASE);
    wait("the second knows", || lease_of(&second)["holder"] == lease_of(&first)["identity"]);
    let lease = lease_of(&second);
    assert_eq!((&lease["lease"], &lease["is_leader"]), (&json!("shop/sigma"), &json!(false)));
    assert_ne!(lease["identity"], lease["holder"], "two of one name are told apart");
    let spec = || site.api.object("leases", "shop/sigma").expect("a lease")["spec"].take();
    assert_eq!(
        (&spec()["leaseDurationSeconds"], &spec()["leaseTransitions"]),
        (&json!(15), &json!(0))
    );
    // It gives the lease back, which need not be waited out.
    first.signal("TERM");
    assert_eq!(first.wait_exit(), Some(0));
    assert_eq!(spec()["holderIdentity"], "");
    let took = wait("the second leads", || leads(&second));
    println!("took over after {took:?}");
    assert_eq!(spec()["leaseTransitions"], 1);
}

#[test]
fn without_a_namespace_or_the_right_there_is_no_election() {
    let site = Site::new();
    let without = site.serve(&[]);
    assert_eq!(lease_of(&without), Value::Null);
    site.api.forbid("create", "leases");
    let sigma = site.serve(&LEASE);
    wait("it is said", || sigma.logged("sigma may not create leases in namespace shop") == 1);
    sigma.wait_metric("sigma_right_missing{resource=\"leases\"}", 1.0);
    let lease = lease_of(&sigma);
    assert_eq!((&lease["is_leader"], &lease["holder"]), (&json!(false), &Value::Null));
    assert_eq!(site.api.asked("get", "leases"), 0);
    assert_eq!(sigma.json("/api/v1/actions")[0]["on"], true, "the requeue needs no lease");
}
