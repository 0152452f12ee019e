//! What the tests of this crate share: discoveries and checks that do as they are told.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use pingora_error::{Error, ErrorType, Result};
use tokio::sync::oneshot;

use crate::Backend;
use crate::discovery::ServiceDiscovery;
use crate::health_check::HealthCheck;

/// Returns the backend `10.0.0.{number}:80`.
pub(crate) fn backend(number: u8) -> Backend {
    Backend::new(&format!("10.0.0.{number}:80")).expect("a valid address")
}

/// Returns the backends of these numbers.
pub(crate) fn set(numbers: &[u8]) -> BTreeSet<Backend> {
    numbers.iter().map(|number| backend(*number)).collect()
}

type Answer = (BTreeSet<Backend>, HashMap<u64, bool>);

/// Answers what it was told to, in order; fails when it was told nothing more.
#[derive(Clone, Default)]
pub(crate) struct Scripted(Arc<Mutex<VecDeque<Scene>>>);

enum Scene {
    Answer(Answer),
    /// The answer once somebody sends it.
    Later(oneshot::Receiver<Answer>),
}

impl Scripted {
    /// Answers the backends of these numbers next.
    pub(crate) fn then(self, numbers: &[u8]) -> Self {
        self.then_answer(set(numbers), &[])
    }

    /// Answers these backends and enablements next.
    pub(crate) fn then_answer(self, set: BTreeSet<Backend>, enabled: &[(&Backend, bool)]) -> Self {
        let enablement = enabled
            .iter()
            .map(|(backend, on)| (backend.hash_key(), *on))
            .collect();
        self.0
            .lock()
            .unwrap()
            .push_back(Scene::Answer((set, enablement)));
        self
    }

    /// Answers next what is sent on the returned channel.
    pub(crate) fn then_later(&self) -> oneshot::Sender<Answer> {
        let (sender, answer) = oneshot::channel();
        self.0.lock().unwrap().push_back(Scene::Later(answer));
        sender
    }
}

#[async_trait]
impl ServiceDiscovery for Scripted {
    async fn discover(&self) -> Result<(BTreeSet<Backend>, HashMap<u64, bool>)> {
        let scene = self.0.lock().unwrap().pop_front();
        match scene {
            Some(Scene::Answer(answer)) => Ok(answer),
            Some(Scene::Later(answer)) => Ok(answer.await.expect("the test sends it")),
            None => Error::e_explain(ErrorType::InternalError, "the script has ended"),
        }
    }
}

/// Fails for the backends it is told to, and notes what it was asked and told.
#[derive(Clone, Default)]
pub(crate) struct Verdicts(Arc<Mutex<Notes>>);

#[derive(Default)]
pub(crate) struct Notes {
    pub(crate) failing: BTreeSet<Backend>,
    pub(crate) panicking: BTreeSet<Backend>,
    pub(crate) checked: Vec<Backend>,
    pub(crate) changed: Vec<(Backend, bool)>,
}

impl Verdicts {
    /// Fails for exactly these from now on.
    pub(crate) fn fail(&self, numbers: &[u8]) {
        self.notes(|notes| notes.failing = set(numbers));
    }

    /// Panics for exactly these from now on.
    pub(crate) fn panic(&self, numbers: &[u8]) {
        self.notes(|notes| notes.panicking = set(numbers));
    }

    /// Takes the backends checked so far, sorted.
    pub(crate) fn checked(&self) -> Vec<Backend> {
        let mut checked = self.notes(|notes| std::mem::take(&mut notes.checked));
        checked.sort();
        checked
    }

    /// Takes the changes so far, sorted.
    pub(crate) fn changed(&self) -> Vec<(Backend, bool)> {
        let mut changed = self.notes(|notes| std::mem::take(&mut notes.changed));
        changed.sort();
        changed
    }

    fn notes<T>(&self, access: impl FnOnce(&mut Notes) -> T) -> T {
        access(&mut self.0.lock().unwrap())
    }
}

#[async_trait]
impl HealthCheck for Verdicts {
    async fn check(&self, target: &Backend) -> Result<()> {
        let (fails, panics) = self.notes(|notes| {
            notes.checked.push(target.clone());
            (
                notes.failing.contains(target),
                notes.panicking.contains(target),
            )
        });
        assert!(!panics, "told to");
        tokio::task::yield_now().await;
        match fails {
            true => Error::e_explain(ErrorType::ConnectError, "told to"),
            false => Ok(()),
        }
    }

    async fn health_status_change(&self, target: &Backend, healthy: bool) {
        self.notes(|notes| notes.changed.push((target.clone(), healthy)));
    }

    fn health_threshold(&self, success: bool) -> usize {
        if success { 1 } else { 2 }
    }
}
