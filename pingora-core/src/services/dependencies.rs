//! Which service starts after which: a graph, and the order that follows from it.
//!
//! The graph only records; whether it makes sense is found out once, when the server starts and
//! all services are known. Next: `server/run.rs`, which starts services in this order.

use std::borrow::Borrow;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use pingora_error::{Error, ErrorType, Result};

use super::ServiceReadyWatch;

/// A service added to a server. Lets it wait for others; clones stand for the same service.
///
/// ```
/// use pingora_core::server::{Server, configuration::ServerConf};
/// use pingora_core::services::background::background_service;
/// # use pingora_core::services::background::BackgroundService;
/// # struct Cache;
/// # impl BackgroundService for Cache {}
/// # struct Api;
/// # impl BackgroundService for Api {}
///
/// let mut server = Server::new_with_opt_and_conf(None, ServerConf::default());
/// let cache = server.add_service(background_service("cache", Cache));
/// let api = server.add_service(background_service("api", Api));
/// // `api` starts when `cache` is ready.
/// api.add_dependency(&cache);
/// assert_eq!(api.name(), "BG api");
/// ```
#[derive(Clone)]
pub struct ServiceHandle {
    index: usize,
    name: Arc<str>,
    ready: ServiceReadyWatch,
    graph: Arc<Graph>,
}

impl ServiceHandle {
    /// Makes this service start after `dependency` is ready.
    ///
    /// Services that wait for each other in a circle, or for a service of another server, keep
    /// the server from starting: it ends with an error that names them.
    pub fn add_dependency(&self, dependency: impl Borrow<ServiceHandle>) {
        let dependency = dependency.borrow();
        let mut nodes = self.graph.nodes.lock();
        let node = &mut nodes[self.index];
        if Arc::ptr_eq(&self.graph, &dependency.graph) {
            node.after.insert(dependency.index);
        } else {
            node.foreign.push(dependency.name.clone());
        }
    }

    /// Makes this service start after all of `dependencies` are ready.
    pub fn add_dependencies<'a, D>(&self, dependencies: impl IntoIterator<Item = D>)
    where
        D: Borrow<ServiceHandle> + 'a,
    {
        for dependency in dependencies {
            self.add_dependency(dependency);
        }
    }

    /// Returns the name of the service.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns what becomes true when the service is ready.
    pub(crate) fn ready(&self) -> ServiceReadyWatch {
        self.ready.clone()
    }

    /// Returns the services this one waits for.
    pub(crate) fn dependencies(&self) -> Vec<Dependency> {
        let nodes = self.graph.nodes.lock();
        let after = nodes[self.index].after.iter();
        after
            .map(|&index| Dependency {
                name: nodes[index].name.clone(),
                ready: nodes[index].ready.clone(),
            })
            .collect()
    }
}

impl fmt::Debug for ServiceHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceHandle")
            .field("index", &self.index)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// A service that another one waits for.
pub(crate) struct Dependency {
    pub(crate) name: Arc<str>,
    pub(crate) ready: ServiceReadyWatch,
}

/// The services of one server.
#[derive(Default)]
pub(crate) struct Graph {
    nodes: Mutex<Vec<Node>>,
}

struct Node {
    name: Arc<str>,
    ready: ServiceReadyWatch,
    // Ordered, for logs that do not change from start to start.
    after: BTreeSet<usize>,
    // Names of services of other servers, by mistake.
    foreign: Vec<Arc<str>>,
}

impl Graph {
    /// Enters a service.
    pub(crate) fn add(graph: &Arc<Graph>, name: &str, ready: ServiceReadyWatch) -> ServiceHandle {
        let name: Arc<str> = name.into();
        let mut nodes = graph.nodes.lock();
        nodes.push(Node {
            name: name.clone(),
            ready: ready.clone(),
            after: BTreeSet::new(),
            foreign: Vec::new(),
        });
        ServiceHandle {
            index: nodes.len() - 1,
            name,
            ready,
            graph: graph.clone(),
        }
    }

    /// Returns the numbers of all services in an order in which each comes after those it waits
    /// for. Otherwise the order is that of addition.
    pub(crate) fn start_order(&self) -> Result<Vec<usize>> {
        let nodes = self.nodes.lock();
        if let Some((node, foreign)) = nodes.iter().find_map(|n| Some((n, n.foreign.first()?))) {
            let (name, reason) = (&node.name, "which belongs to another server");
            let context = format!("service \"{name}\" depends on \"{foreign}\", {reason}");
            return Error::e_explain(ErrorType::InternalError, context);
        }
        let mut order = Vec::with_capacity(nodes.len());
        let mut placed = vec![false; nodes.len()];
        while order.len() < nodes.len() {
            let free = |i: &usize| !placed[*i] && nodes[*i].after.iter().all(|d| placed[*d]);
            let Some(next) = (0..nodes.len()).find(free) else {
                let context = format!(
                    "services wait for each other in a circle: {}",
                    circle(&nodes, &placed)
                );
                return Error::e_explain(ErrorType::InternalError, context);
            };
            placed[next] = true;
            order.push(next);
        }
        Ok(order)
    }

    /// Returns the names of `order`, for logs.
    pub(crate) fn describe(&self, order: &[usize]) -> String {
        let nodes = self.nodes.lock();
        let names: Vec<&str> = order.iter().map(|i| &*nodes[*i].name).collect();
        names.join(", ")
    }
}

/// Names the services of one circle among those that are not placed. Each of these waits for
/// another one of them, so following that relation meets a service twice.
fn circle(nodes: &[Node], placed: &[bool]) -> String {
    let mut path: Vec<usize> = placed.iter().position(|p| !p).into_iter().collect();
    while let Some(next) = path
        .last()
        .and_then(|last| nodes[*last].after.iter().find(|d| !placed[**d]))
    {
        if let Some(start) = path.iter().position(|seen| seen == next) {
            path.drain(..start);
            path.push(*next);
            break;
        }
        path.push(*next);
    }
    let names: Vec<&str> = path.iter().map(|i| &*nodes[*i].name).collect();
    names.join(" -> ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Services are letters; "ab" means that a waits for b.
    fn order(services: &str, edges: &[&str]) -> std::result::Result<String, String> {
        let graph = Arc::new(Graph::default());
        let handles: Vec<ServiceHandle> = services
            .chars()
            .map(|c| Graph::add(&graph, &c.to_string(), tokio::sync::watch::channel(false).1))
            .collect();
        let of = |c: char| &handles[services.find(c).unwrap()];
        for edge in edges {
            let mut ends = edge.chars();
            of(ends.next().unwrap()).add_dependencies(ends.map(of));
        }
        match graph.start_order() {
            Ok(order) => Ok(graph.describe(&order).replace(", ", "")),
            Err(e) => Err(e.context.as_ref().unwrap().as_str().to_string()),
        }
    }

    #[test]
    fn dependencies_come_first() {
        for (services, edges, expected) in [
            ("", &[] as &[&str], ""),
            ("abc", &[], "abc"),
            ("abc", &["ab"], "bac"),
            ("abc", &["ab", "ab", "ab"], "bac"),
            ("abc", &["abc"], "bca"),
            ("abc", &["ab", "bc"], "cba"),
            ("abcd", &["ab", "ac", "bd", "cd"], "dbca"),
            ("abcd", &["da", "cb"], "abcd"),
        ] {
            assert_eq!(order(services, edges).as_deref(), Ok(expected), "{edges:?}");
        }
    }

    #[test]
    fn circles_are_named() {
        for (services, edges, expected) in [
            ("a", &["aa"] as &[&str], "a -> a"),
            ("ab", &["ab", "ba"], "a -> b -> a"),
            ("abcd", &["ab", "bc", "cb"], "b -> c -> b"),
            ("abcd", &["da", "ab", "bc", "ca"], "a -> b -> c -> a"),
        ] {
            let message = order(services, edges).unwrap_err();
            let expected = format!("services wait for each other in a circle: {expected}");
            assert_eq!(message, expected);
        }
    }

    #[test]
    fn services_of_other_servers_are_refused() {
        let (here, there) = (Arc::new(Graph::default()), Arc::new(Graph::default()));
        let watch = tokio::sync::watch::channel(false).1;
        let a = Graph::add(&here, "a", watch.clone());
        let b = Graph::add(&there, "b", watch);
        a.add_dependency(b);
        let error = here.start_order().unwrap_err().to_string();
        assert!(error.contains("\"a\" depends on \"b\""), "{error}");
        assert!(there.start_order().is_ok());
    }

    /// Any graph either gets a valid order or has a circle, which is real.
    #[test]
    fn random_graphs_agree_with_the_definition() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..500 {
            let services = &"abcdef"[..random.usize(1..=6)];
            let pick =
                |r: &mut fastrand::Rng| services.chars().nth(r.usize(..services.len())).unwrap();
            let edges: Vec<String> = (0..random.usize(..8))
                .map(|_| [pick(&mut random), pick(&mut random)].iter().collect())
                .collect();
            let edges: Vec<&str> = edges.iter().map(String::as_str).collect();
            match order(services, &edges) {
                Ok(order) => {
                    assert_eq!(order.len(), services.len());
                    for edge in &edges {
                        let place = |c| order.find(c);
                        let (a, b) = edge.split_at(1);
                        assert!(place(b) < place(a), "{edges:?} {order}");
                    }
                }
                Err(message) => {
                    let circle = message.split_once(": ").unwrap().1.replace(" -> ", "");
                    for step in circle.as_bytes().windows(2) {
                        let step = str::from_utf8(step).unwrap();
                        assert!(edges.contains(&step), "{edges:?} {message}");
                    }
                }
            }
        }
    }
}
