//! Webhooks.

use keyspace::{
    key,
    value::{ExtraFields, WebhookSpec},
};
use proto::{
    api::v1::{
        CreateWebhookRequest, CreateWebhookResponse, DeleteWebhookRequest, DeleteWebhookResponse, GetWebhookRequest,
        GetWebhookResponse, ListWebhooksRequest, ListWebhooksResponse, UpdateWebhookRequest, UpdateWebhookResponse,
        Webhook as WireWebhook, webhook_service_server::WebhookService,
    },
    convert::{mask::Mask, time::wire_time},
};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{
    Shared,
    pages::{Page, Position},
};
use ironic_api::IronicWebhooks;
use scheduler_core::{Error, RequestContext, etag, resource_store::Stored, resources, webhooks};

/// The fields of [`UpdateWebhookRequest`] that a mask may name.
const FIELDS: &[&str] = &["url", "query", "secret", "token", "ca", "enabled"];

type Answer<T> = Result<Response<T>, Status>;

impl Shared {
    fn shown_webhook(&self, named: &str) -> Result<WireWebhook, Error> {
        Ok(self.shown_one_webhook(&self.find_resource(named)?))
    }

    fn shown_one_webhook(&self, stored: &Stored<WebhookSpec>) -> WireWebhook {
        let (id, spec) = (stored.id, stored.spec());
        let told = self.registry.view().get(&key::delivered(id)).map(|read| read.value).unwrap_or_default();
        WireWebhook {
            id: id.to_string(),
            name: spec.name.clone(),
            url: spec.url.clone(),
            query: spec.query.clone().unwrap_or_default(),
            enabled: spec.enabled,
            create_time: Some(wire_time(stored.record.value.created_at)),
            last_delivery_time: told.at.map(wire_time),
            failure_start_time: told.failing_since.map(wire_time),
            reason: told.error,
            etag: etag::tag(stored.record.revision),
        }
    }

    async fn create_webhook(
        &self,
        context: &RequestContext,
        id: Uuid,
        request: CreateWebhookRequest,
    ) -> Result<WireWebhook, Error> {
        let mut spec = WebhookSpec { name: request.name, url: request.url, ..WebhookSpec::default() };
        for (name, value) in [("secret", request.secret), ("token", request.token), ("ca", request.ca)] {
            set(&mut spec.delivery_info, name, value);
        }
        spec.query = Some(request.query).filter(|query| !query.is_empty());
        webhooks::create_webhook(context, self, &IronicWebhooks, id, spec).await?;
        self.shown_webhook(&id.to_string())
    }

    async fn update_webhook(
        &self,
        context: &RequestContext,
        request: UpdateWebhookRequest,
    ) -> Result<WireWebhook, Error> {
        let mask = Mask::read(request.update_mask.as_ref(), FIELDS)?;
        let before = self.find_resource::<WebhookSpec>(&request.webhook)?;
        etag::check(&request.etag, "webhook", &before.spec().name, before.record.revision)?;
        let mut spec = before.spec().clone();
        for (name, value) in [("secret", request.secret), ("token", request.token), ("ca", request.ca)] {
            mask.value(name, value).into_iter().for_each(|value| set(&mut spec.delivery_info, name, value));
        }
        if let Some(url) = mask.value("url", request.url) {
            spec.url = url;
        }
        if let Some(query) = mask.value("query", request.query) {
            spec.query = Some(query).filter(|query| !query.is_empty());
        }
        spec.enabled = mask.value("enabled", request.enabled).unwrap_or(spec.enabled);
        webhooks::update_webhook(context, self, &IronicWebhooks, &before, spec).await?;
        self.shown_webhook(&before.id.to_string())
    }

    async fn delete_webhook(
        &self,
        context: &RequestContext,
        request: &DeleteWebhookRequest,
    ) -> Result<DeleteWebhookResponse, Error> {
        let stored = self.find_resource::<WebhookSpec>(&request.webhook)?;
        etag::check(&request.etag, "webhook", &stored.spec().name, stored.record.revision)?;
        resources::delete_resource(context, self, &stored).await?;
        Ok(DeleteWebhookResponse {})
    }
}

/// Sets a key of a dictionary. An empty value removes it.
fn set(fields: &mut ExtraFields, name: &str, value: String) {
    if value.is_empty() {
        fields.remove(name);
    } else {
        fields.set_text(name, value);
    }
}

#[tonic::async_trait]
impl WebhookService for Shared {
    async fn create_webhook(&self, request: Request<CreateWebhookRequest>) -> Answer<CreateWebhookResponse> {
        let public = CreateWebhookRequest { secret: String::new(), token: String::new(), ..request.get_ref().clone() };
        let context = RequestContext::read(&request, "CreateWebhook", &public)?;
        // Under the id of the request it is found again, also where the answer is lost.
        let id = context.new_id();
        let request = request.into_inner();
        let change = async {
            Ok(CreateWebhookResponse { webhook: Some(Self::create_webhook(self, &context, id, request).await?) })
        };
        let anew = || Ok(CreateWebhookResponse { webhook: Some(self.shown_webhook(&id.to_string())?) });
        Ok(Response::new(self.once(&context, change, anew).await?))
    }

    async fn get_webhook(&self, request: Request<GetWebhookRequest>) -> Answer<GetWebhookResponse> {
        let webhook = Some(self.shown_webhook(&request.into_inner().webhook)?);
        Ok(Response::new(GetWebhookResponse { webhook }))
    }

    async fn list_webhooks(&self, request: Request<ListWebhooksRequest>) -> Answer<ListWebhooksResponse> {
        let page = Page::read(&mut request.into_inner()).map_err(Error::from)?;
        let all = self.resources::<WebhookSpec>().into_iter();
        let positioned = all.map(|stored| (Position::of_time(stored.record.value.created_at, stored.id), stored));
        let (all, next_page_token) = page.cut_unsorted(positioned);
        let webhooks = all.iter().map(|stored| self.shown_one_webhook(stored)).collect();
        Ok(Response::new(ListWebhooksResponse { webhooks, next_page_token }))
    }

    async fn update_webhook(&self, request: Request<UpdateWebhookRequest>) -> Answer<UpdateWebhookResponse> {
        let public = UpdateWebhookRequest { secret: None, token: None, ..request.get_ref().clone() };
        let context = RequestContext::read(&request, "UpdateWebhook", &public)?;
        let request = request.into_inner();
        let named = request.webhook.clone();
        let change =
            async { Ok(UpdateWebhookResponse { webhook: Some(Self::update_webhook(self, &context, request).await?) }) };
        let anew = || Ok(UpdateWebhookResponse { webhook: Some(self.shown_webhook(&named)?) });
        Ok(Response::new(self.once(&context, change, anew).await?))
    }

    async fn delete_webhook(&self, request: Request<DeleteWebhookRequest>) -> Answer<DeleteWebhookResponse> {
        let context = RequestContext::read(&request, "DeleteWebhook", request.get_ref())?;
        let request = request.into_inner();
        let change = Self::delete_webhook(self, &context, &request);
        Ok(Response::new(self.once(&context, change, || Ok(DeleteWebhookResponse {})).await?))
    }
}
