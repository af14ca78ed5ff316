//! What is said over HTTP: `GET /dev/nodes`, `POST /dev/nodes/{id}/{action}`, and whether the cluster is well, where a broker
//! says it of itself.

use serde_json::{Value, json};

use super::{Action, Nodes, State};
use crate::admin::{Asked, Told, serve_control};
use crate::env::{Env, Listener};

/// Where the nodes are.
const NODES: &str = "/dev/nodes";

pub(super) fn serve(env: &Env, listener: Listener, nodes: Nodes) {
    serve_control(env, listener, move |asked| {
        let nodes = nodes.clone();
        async move { answer(&nodes, &asked).await }
    });
}

async fn answer(nodes: &Nodes, asked: &Asked) -> Told {
    if !asked.to_do && asked.path == NODES {
        let all = (1..=nodes.all.len()).filter_map(|id| told(nodes, id, &nodes.state(id)?));
        return Told::This(json!({ "nodes": all.collect::<Vec<_>>() }));
    }
    match &*asked.path {
        // Whoever asks has the process, which is as well as it gets.
        "/livez" if !asked.to_do => return Told::Health(true, String::new()),
        "/readyz" | "/healthz" if !asked.to_do => return readiness(nodes),
        _ => {}
    }
    let Some((id, action)) = asked.to_do.then(|| errand(&asked.path)).flatten() else {
        let actions = Action::ALL.map(Action::name).join("|");
        let known = format!("GET {NODES}, GET /readyz and POST {NODES}/ID/{actions}");
        return Told::Unknown(format!("there are {known}"));
    };
    match nodes.act(id, action).await {
        None => Told::Unknown(format!("there is no node {id}: they are 1 to {}", nodes.all.len())),
        Some(Err(refused)) => Told::NotNow(refused.to_string()),
        Some(Ok(state)) => Told::This(told(nodes, id, &state).unwrap_or_default()),
    }
}

/// Whether most nodes serve, as a cluster has to have it, with the state of each.
fn readiness(nodes: &Nodes) -> Told {
    let states = (1..=nodes.all.len()).filter_map(|id| Some((id, nodes.state(id)?)));
    let (mut lines, mut running) = (String::new(), 0);
    for (id, state) in states {
        running += usize::from(state == State::Running);
        lines.push_str(&format!("node {id}: {}\n", state.name()));
    }
    Told::Health(2 * running > nodes.all.len(), lines)
}

/// Node and action of a path.
fn errand(path: &str) -> Option<(usize, Action)> {
    let (id, action) = path.strip_prefix(NODES)?.strip_prefix('/')?.split_once('/')?;
    Some((id.parse().ok()?, Action::of(action)?))
}

/// A node as JSON.
fn told(nodes: &Nodes, id: usize, state: &State) -> Option<Value> {
    let kafka = nodes.node(id)?.kafka().to_string();
    let reason = match state {
        State::Failed(reason) => Some(reason),
        State::Starting
        | State::Running
        | State::Paused
        | State::Cut
        | State::Stopped
        | State::Killed => None,
    };
    Some(json!({ "id": id, "kafka": kafka, "state": state.name(), "reason": reason }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_say_who_and_what() {
        assert_eq!(errand("/dev/nodes/2/kill"), Some((2, Action::Kill)));
        for path in ["/dev/nodes/2", "/dev/nodes/x/kill", "/dev/nodes/2/burn", "/dev/nodes2/kill"] {
            assert_eq!(errand(path), None, "{path}");
        }
    }
}
