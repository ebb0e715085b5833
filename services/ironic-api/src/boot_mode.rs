//! Boot mode and secure boot. No driver changes them; as in Ironic, a request is accepted, and the failure is stored in the
//! node's last error.

use domain::failure::{Cause, Failure};
use service_kit::clock;
use wire_ironic::{
    call,
    error::{Class, Error, text},
    links,
};

use super::{ApiRequest, RestApi, fault::fault, response::ApiResponse};

impl RestApi {
    pub(super) async fn set_boot_mode(&self, request: &ApiRequest, ident: &str) -> Result<ApiResponse, Error> {
        let mode = match call::boot_mode(&request.arguments()?)? {
            call::BootMode::Bios => "bios",
            call::BootMode::Uefi => "uefi",
        };
        self.accept_and_fail(request, ident, &format!("boot mode to '{mode}'"), "set_boot_mode").await
    }

    pub(super) async fn set_secure_boot(&self, request: &ApiRequest, ident: &str) -> Result<ApiResponse, Error> {
        let is_on = call::secure_boot(&request.arguments()?)?;
        let word = if is_on { "True" } else { "False" };
        self.accept_and_fail(request, ident, &format!("secure_boot state to '{word}'"), "set_secure_boot_state").await
    }

    /// Accepts a change that the node's driver cannot make.
    async fn accept_and_fail(
        &self,
        request: &ApiRequest,
        ident: &str,
        change: &str,
        unsupported: &str,
    ) -> Result<ApiResponse, Error> {
        let (node, registry) = (self.node(request, ident)?, &self.app.registry);
        let held = registry.held(node.node).ok_or_else(|| text::not_found("Node", ident))?;
        if held.life.value.state.is_busy() {
            return Err(Class::Conflict.error(format!(
                "Node is in {} state. Since node is transitioning, the boot mode will not be set as this may interfere \
                 with ongoing changes and result in erroneous modification. Try again later.",
                held.life.value.state
            )));
        }
        let why = text::unsupported(&node.intent.driver.to_string(), unsupported, Class::Invalid).text;
        let failure =
            Failure { cause: Cause::BmcRefused, text: format!("Failed to change {change}: {why}"), at: clock::now() };
        registry.note_failure(&request.context(), &held, failure).await.map_err(|error| fault(ident, &error))?;
        Ok(ApiResponse::accepted(Some(links::location(&request.base, &format!("nodes/{ident}/states")))))
    }
}
