use tonic::{Code, Status};

use super::*;
use crate::{store::connection::Failure, testing::MemoryEtcd};

fn learner(id: u64) -> Vec<String> {
    vec![format!("https://10.0.0.{id}:2380")]
}

#[test]
fn what_etcd_refuses_is_named_with_what_to_do() {
    let (add, promote) = (MemberChange::AddLearner { peer_urls: learner(2) }, MemberChange::Promote(7));
    // etcd's code and text (api/v3rpc/rpctypes/error.go of 3.4), the change, and what it is taken for.
    type Case<'c> = (Code, &'c str, &'c MemberChange, fn(&MemberError) -> bool, bool);
    let table: [Case<'_>; 12] = [
        (
            Code::FailedPrecondition,
            "etcdserver: can only promote a learner member which is in sync with leader",
            &promote,
            |error| matches!(error, MemberError::NotInSync { id: 7 }),
            true,
        ),
        (
            Code::FailedPrecondition,
            "etcdserver: can only promote a learner member",
            &promote,
            |error| matches!(error, MemberError::NotALearner { id: 7 }),
            false,
        ),
        (
            Code::FailedPrecondition,
            "etcdserver: too many learner members in cluster",
            &add,
            |error| matches!(error, MemberError::TooManyLearners),
            true,
        ),
        (
            Code::NotFound,
            "etcdserver: member not found",
            &promote,
            |error| matches!(error, MemberError::UnknownMember { id: 7 }),
            false,
        ),
        (
            Code::FailedPrecondition,
            "etcdserver: bad leader transferee",
            &MemberChange::MoveLeader(9),
            |error| matches!(error, MemberError::UnknownMember { id: 9 }),
            false,
        ),
        (
            Code::FailedPrecondition,
            "etcdserver: Peer URLs already exists",
            &add,
            |error| matches!(error, MemberError::AddressTaken { .. }),
            false,
        ),
        (
            Code::FailedPrecondition,
            "etcdserver: re-configuration failed due to not enough started members",
            &MemberChange::Remove(3),
            |error| matches!(error, MemberError::NoQuorum { .. }),
            true,
        ),
        (
            Code::Unavailable,
            "etcdserver: unhealthy cluster",
            &add,
            |error| matches!(error, MemberError::NoQuorum { .. }),
            true,
        ),
        (
            Code::Unavailable,
            "etcdserver: no leader",
            &MemberChange::Remove(3),
            |error| matches!(error, MemberError::NoQuorum { .. }),
            true,
        ),
        (
            Code::PermissionDenied,
            "etcdserver: permission denied",
            &add,
            |error| matches!(error, MemberError::Forbidden { .. }),
            false,
        ),
        (
            Code::Unavailable,
            "etcdserver: request timed out",
            &add,
            |error| matches!(error, MemberError::Store(Error::Unavailable { .. })),
            true,
        ),
        (
            Code::InvalidArgument,
            "etcdserver: given member URLs are invalid",
            &add,
            |error| matches!(error, MemberError::Store(Error::Refused { .. })),
            false,
        ),
    ];
    for (code, text, change, is_right, is_temporary) in table {
        let failure = Failure::from(etcd_client::Error::GRpcStatus(Status::new(code, text)));
        let error = MemberError::of(failure.doing("testing"), change, "testing");
        assert!(is_right(&error), "{text}: {error:?}");
        assert_eq!(error.is_temporary(), is_temporary, "{text}");
    }
    let forbidden = MemberError::Forbidden { doing: "adding a member" }.to_string();
    assert!(forbidden.contains("only etcd's user root") && forbidden.contains("etcd-root.pem"), "{forbidden}");
}

#[tokio::test]
async fn members_are_added_as_learners_promoted_moved_and_removed() {
    let etcd = MemoryEtcd::new();
    let store = etcd.client().store();
    etcd.set_learners_in_sync(false);
    let id = store.add_learner(&learner(2)).await.unwrap();
    assert!(matches!(store.add_learner(&learner(3)).await, Err(MemberError::TooManyLearners)));
    assert!(matches!(store.add_learner(&learner(2)).await, Err(MemberError::AddressTaken { .. })));
    assert!(matches!(store.promote_member(id).await, Err(MemberError::NotInSync { .. })));
    etcd.set_learners_in_sync(true);
    store.promote_member(id).await.unwrap();
    assert!(matches!(store.promote_member(id).await, Err(MemberError::NotALearner { .. })));
    store.update_member(id, &learner(9)).await.unwrap();
    store.move_leader(id).await.unwrap();
    let members = store.cluster_members().await.unwrap();
    assert_eq!(members.iter().map(|member| member.is_learner).collect::<Vec<_>>(), [false, false]);
    assert_eq!(members[1].peer_urls, learner(9));
    store.remove_member(id).await.unwrap();
    assert!(matches!(store.remove_member(id).await, Err(MemberError::UnknownMember { .. })));
    assert_eq!(etcd.members().len(), 1);
    etcd.stop();
    assert!(store.remove_member(1).await.unwrap_err().is_temporary());
}
