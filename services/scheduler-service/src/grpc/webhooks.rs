//! Webhooks.

use domain::time::Timestamp;
use keyspace::{key, store::Versioned, value::Sheet};
use proto::api::v1::{
    CreateWebhookRequest, CreateWebhookResponse, DeleteWebhookRequest, DeleteWebhookResponse, GetWebhookRequest,
    GetWebhookResponse, ListWebhooksRequest, ListWebhooksResponse, UpdateWebhookRequest, UpdateWebhookResponse,
    Webhook as WireWebhook, webhook_service_server::WebhookService,
};
use serde_json::{Map, Value, json};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::Shared;
use ironic_api::{check_webhook, check_webhook_count};
use scheduler_core::{Error, kinds::WEBHOOK_KIND, request_id::RequestId};

type Answer<T> = Result<Response<T>, Status>;

impl Shared {
    fn webhook(&self, named: &str) -> Result<(Uuid, Versioned<Sheet>), Error> {
        let missing = || Error::Missing { kind: "webhook", name: named.to_owned() };
        self.sheet(WEBHOOK_KIND, named).map_err(|_| missing())
    }

    fn shown_webhook(&self, named: &str) -> Result<WireWebhook, Error> {
        let (id, sheet) = self.webhook(named)?;
        Ok(self.shown_one_webhook(id, &sheet.value))
    }

    fn shown_one_webhook(&self, id: Uuid, sheet: &Sheet) -> WireWebhook {
        let text = |name: &str| sheet.fields.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let told = self.registry.view().get(&key::delivered(id)).map(|read| read.value).unwrap_or_default();
        WireWebhook {
            id: id.to_string(),
            name: text("name"),
            url: text("url"),
            query: text("query"),
            enabled: sheet.fields.get("enabled") != Some(&Value::Bool(false)),
            since_ms: sheet.created_at.millis(),
            delivered_ms: told.at.map_or(0, Timestamp::millis),
            failing_since_ms: told.failing_since.map_or(0, Timestamp::millis),
            reason: told.error,
        }
    }

    async fn create_webhook(&self, id: Uuid, request: CreateWebhookRequest) -> Result<WireWebhook, Error> {
        if self.registry.view().get(&key::name(WEBHOOK_KIND.collection, &request.name)).is_some() {
            let (what, kind, value) = ("name", "webhook".to_owned(), request.name.clone());
            return Err(Error::Taken { what, value, kind, holder: request.name });
        }
        let mut info = Map::from_iter([("secret".to_owned(), json!(request.secret))]);
        for (name, value) in [("token", request.token), ("ca", request.ca)] {
            set(&mut info, name, value);
        }
        let mut fields = Map::from_iter([
            ("name".to_owned(), json!(request.name)),
            ("url".to_owned(), json!(request.url)),
            ("delivery_info".to_owned(), Value::Object(info)),
        ]);
        set(&mut fields, "query", request.query);
        let fields = wire_ironic::fields::check_post(
            WEBHOOK_KIND.resource,
            wire_ironic::version::Version::MAX,
            &Value::Object(fields),
        )?;
        check_webhook(&fields)?;
        check_webhook_count(self.registry.view())?;
        let sheet = self.fresh_sheet(WEBHOOK_KIND, id, fields)?;
        self.store_sheet(WEBHOOK_KIND, id, &sheet).await?;
        self.shown_webhook(&id.to_string())
    }

    async fn update_webhook(&self, request: UpdateWebhookRequest) -> Result<WireWebhook, Error> {
        let (id, before) = self.webhook(&request.webhook)?;
        let mut fields = before.value.fields.clone();
        let mut info = fields.get("delivery_info").and_then(Value::as_object).cloned().unwrap_or_default();
        for (name, value) in [("secret", request.secret), ("token", request.token), ("ca", request.ca)] {
            value.into_iter().for_each(|value| set(&mut info, name, value));
        }
        fields.insert("delivery_info".to_owned(), Value::Object(info));
        for (name, value) in [("url", request.url), ("query", request.query)] {
            value.into_iter().for_each(|value| set(&mut fields, name, value));
        }
        if let Some(enabled) = request.enabled {
            fields.insert("enabled".to_owned(), Value::Bool(enabled));
        }
        check_webhook(&fields)?;
        self.change_sheet(WEBHOOK_KIND, id, &before, fields).await?;
        self.shown_webhook(&id.to_string())
    }

    async fn delete_webhook(&self, named: &str) -> Result<DeleteWebhookResponse, Error> {
        let (id, sheet) = self.webhook(named)?;
        self.delete_sheet(WEBHOOK_KIND, id, &sheet).await?;
        Ok(DeleteWebhookResponse {})
    }
}

/// Sets a member; empty: takes it away.
fn set(members: &mut Map<String, Value>, name: &str, value: String) {
    if value.is_empty() {
        members.remove(name);
    } else {
        members.insert(name.to_owned(), Value::String(value));
    }
}

#[tonic::async_trait]
impl WebhookService for Shared {
    async fn create_webhook(&self, request: Request<CreateWebhookRequest>) -> Answer<CreateWebhookResponse> {
        let public = CreateWebhookRequest { secret: String::new(), token: String::new(), ..request.get_ref().clone() };
        let asked = RequestId::read(request.metadata(), "CreateWebhook", &public)?;
        // Under the id of the request it is found again, also where the answer is lost.
        let id = asked.as_ref().map_or_else(Uuid::new_v4, RequestId::id);
        let request = request.into_inner();
        let change =
            async { Ok(CreateWebhookResponse { webhook: Some(Self::create_webhook(self, id, request).await?) }) };
        let anew = || Ok(CreateWebhookResponse { webhook: Some(self.shown_webhook(&id.to_string())?) });
        Ok(Response::new(self.once(asked, change, anew).await?))
    }

    async fn get_webhook(&self, request: Request<GetWebhookRequest>) -> Answer<GetWebhookResponse> {
        let webhook = Some(self.shown_webhook(&request.into_inner().webhook)?);
        Ok(Response::new(GetWebhookResponse { webhook }))
    }

    async fn list_webhooks(&self, _: Request<ListWebhooksRequest>) -> Answer<ListWebhooksResponse> {
        let mut all = self.registry.view().list(&key::sheets(WEBHOOK_KIND.collection));
        all.sort_by_key(|(_, sheet)| sheet.value.created_at);
        let shown = all.iter().filter_map(|(path, sheet)| Some(self.shown_one_webhook(key::last(path)?, &sheet.value)));
        Ok(Response::new(ListWebhooksResponse { webhooks: shown.collect() }))
    }

    async fn update_webhook(&self, request: Request<UpdateWebhookRequest>) -> Answer<UpdateWebhookResponse> {
        let public = UpdateWebhookRequest { secret: None, token: None, ..request.get_ref().clone() };
        let asked = RequestId::read(request.metadata(), "UpdateWebhook", &public)?;
        let request = request.into_inner();
        let named = request.webhook.clone();
        let change = async { Ok(UpdateWebhookResponse { webhook: Some(Self::update_webhook(self, request).await?) }) };
        let anew = || Ok(UpdateWebhookResponse { webhook: Some(self.shown_webhook(&named)?) });
        Ok(Response::new(self.once(asked, change, anew).await?))
    }

    async fn delete_webhook(&self, request: Request<DeleteWebhookRequest>) -> Answer<DeleteWebhookResponse> {
        let asked = RequestId::read(request.metadata(), "DeleteWebhook", request.get_ref())?;
        let named = request.into_inner().webhook;
        let change = Self::delete_webhook(self, &named);
        Ok(Response::new(self.once(asked, change, || Ok(DeleteWebhookResponse {})).await?))
    }
}
