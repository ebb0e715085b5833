//! The list of the members: what etcd accepts of changes to it.

use tonic::{Code, Status};

use crate::store::{
    ClusterMember,
    connection::{Failure, MemberChange},
};

/// The members. All of them are the one in-memory store.
#[derive(Debug)]
pub(super) struct Members {
    list: Vec<ClusterMember>,
    /// Whether learners have caught up.
    in_sync: bool,
    next_id: u64,
}

impl Default for Members {
    fn default() -> Self {
        let first = ClusterMember { id: 1, name: "memory".to_owned(), ..ClusterMember::default() };
        Self { list: vec![first], in_sync: true, next_id: 2 }
    }
}

fn refused(code: Code, text: &str) -> Failure {
    etcd_client::Error::GRpcStatus(Status::new(code, format!("etcdserver: {text}"))).into()
}

impl Members {
    pub(super) fn list(&self) -> Vec<ClusterMember> {
        self.list.clone()
    }

    pub(super) fn set(&mut self, list: Vec<ClusterMember>) {
        self.next_id = list.iter().map(|member| member.id + 1).max().unwrap_or(1).max(self.next_id);
        self.list = list;
    }

    pub(super) fn set_in_sync(&mut self, in_sync: bool) {
        self.in_sync = in_sync;
    }

    fn find(&mut self, id: u64) -> Result<&mut ClusterMember, Failure> {
        let found = self.list.iter_mut().find(|member| member.id == id);
        found.ok_or_else(|| refused(Code::NotFound, "member not found"))
    }

    /// Changes the list as etcd does, with its errors.
    pub(super) fn change(&mut self, change: MemberChange) -> Result<u64, Failure> {
        match change {
            MemberChange::AddLearner { peer_urls } => {
                if self.list.iter().any(|member| member.peer_urls.iter().any(|url| peer_urls.contains(url))) {
                    return Err(refused(Code::FailedPrecondition, "Peer URLs already exists"));
                }
                if self.list.iter().any(|member| member.is_learner) {
                    return Err(refused(Code::FailedPrecondition, "too many learner members in cluster"));
                }
                let id = self.next_id;
                self.next_id += 1;
                self.list.push(ClusterMember { id, peer_urls, is_learner: true, ..ClusterMember::default() });
                Ok(id)
            }
            MemberChange::Promote(id) => {
                let in_sync = self.in_sync;
                let member = self.find(id)?;
                if !member.is_learner {
                    return Err(refused(Code::FailedPrecondition, "can only promote a learner member"));
                }
                if !in_sync {
                    let text = "can only promote a learner member which is in sync with leader";
                    return Err(refused(Code::FailedPrecondition, text));
                }
                member.is_learner = false;
                Ok(id)
            }
            MemberChange::Remove(id) => {
                self.find(id)?;
                self.list.retain(|member| member.id != id);
                Ok(id)
            }
            MemberChange::Update { id, peer_urls } => {
                self.find(id)?.peer_urls = peer_urls;
                Ok(id)
            }
            MemberChange::MoveLeader(id) => self.find(id).map(|member| member.id),
        }
    }
}
