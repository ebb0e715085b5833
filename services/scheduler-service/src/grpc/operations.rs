//! Operations.

use keyspace::key;
use proto::{
    api::v1::{
        GetOperationRequest, GetOperationResponse, ListOperationsRequest, ListOperationsResponse,
        Operation as WireOperation, operation_service_server::OperationService,
    },
    convert::time::wire_time,
};
use tonic::{Request, Response, Status};

use super::Shared;
use scheduler_core::Error;

impl Shared {
    fn operations(&self) -> Vec<WireOperation> {
        let nodes = self.registry.nodes(None).into_iter();
        let shown = nodes.filter_map(|(node, rack)| {
            let operation = self.registry.view().get(&key::operation(rack, node))?.value;
            let intent = self.registry.view().get(&key::intent(rack, node))?.value;
            Some(WireOperation {
                id: operation.id.to_string(),
                node: node.to_string(),
                node_name: intent.name,
                phase: operation.phase.to_string(),
                start_time: Some(wire_time(operation.since)),
                end_time: operation.ended.map(wire_time),
                failure: operation.failure.map(Into::into),
            })
        });
        shown.collect()
    }
}

#[tonic::async_trait]
impl OperationService for Shared {
    async fn get_operation(
        &self,
        request: Request<GetOperationRequest>,
    ) -> Result<Response<GetOperationResponse>, Status> {
        let id = request.into_inner().operation;
        let operation = self.operations().into_iter().find(|operation| operation.id == id);
        let operation = operation.ok_or(Error::Missing { kind: "operation", name: id })?;
        Ok(Response::new(GetOperationResponse { operation: Some(operation) }))
    }

    async fn list_operations(
        &self,
        request: Request<ListOperationsRequest>,
    ) -> Result<Response<ListOperationsResponse>, Status> {
        let running = request.into_inner().running;
        let mut operations = self.operations();
        operations.retain(|operation| !running || operation.end_time.is_none());
        operations.sort_by_key(|operation| operation.start_time.map(|at| (at.seconds, at.nanos)));
        Ok(Response::new(ListOperationsResponse { operations }))
    }
}
