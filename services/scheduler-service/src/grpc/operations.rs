//! Operations.

use proto::api::v1::{
    GetOperationRequest, GetOperationResponse, ListOperationsRequest, ListOperationsResponse,
    operation_service_server::OperationService,
};
use tonic::{Request, Response, Status};

use super::{
    Shared,
    pages::{Page, Position},
    show,
};
use scheduler_core::{Error, registry::Record};

type Answer<T> = Result<Response<T>, Status>;

impl Shared {
    /// The records of all nodes.
    pub(super) fn records(&self) -> impl Iterator<Item = Record> {
        self.registry.nodes(None).into_iter().filter_map(|(node, rack)| self.registry.record(rack, node))
    }
}

#[tonic::async_trait]
impl OperationService for Shared {
    async fn get_operation(&self, request: Request<GetOperationRequest>) -> Answer<GetOperationResponse> {
        let id = request.into_inner().operation;
        let mut operations = self.records().filter_map(|record| show::operation(&record));
        let operation = operations.find(|operation| operation.id == id);
        let operation = operation.ok_or(Error::Missing { kind: "operation", name: id })?;
        Ok(Response::new(GetOperationResponse { operation: Some(operation) }))
    }

    async fn list_operations(&self, request: Request<ListOperationsRequest>) -> Answer<ListOperationsResponse> {
        let mut request = request.into_inner();
        let page = Page::read(&mut request).map_err(Error::from)?;
        let records = self.records().filter(|record| !request.running || record.running().is_some());
        let positioned = records.filter_map(|record| {
            let operation = &record.operation.as_ref()?.value;
            Some((Position::of_time(operation.since, operation.id), record))
        });
        let (records, next_page_token) = page.cut_unsorted(positioned);
        let operations = records.iter().filter_map(show::operation).collect();
        Ok(Response::new(ListOperationsResponse { operations, next_page_token }))
    }
}
