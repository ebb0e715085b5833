//! Follows the pages of a list to the end.

use tonic::Status;

/// Maximum number of pages that are followed: a list that grows faster than it is read ends nevertheless.
const MAX_PAGES: usize = 10_000;

/// Calls `page` with an empty token and then with each token that it returns, until it returns an empty one. Returns the
/// items of all pages.
pub(crate) async fn all<T>(
    mut page: impl AsyncFnMut(String) -> Result<(Vec<T>, String), Status>,
) -> Result<Vec<T>, Status> {
    let (mut items, mut token) = (Vec::new(), String::new());
    for _ in 0..MAX_PAGES {
        let (found, next) = page(token).await?;
        items.extend(found);
        if next.is_empty() {
            return Ok(items);
        }
        token = next;
    }
    Err(Status::data_loss(format!("the list has more than {MAX_PAGES} pages")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pages_are_followed_to_the_end_by_their_tokens() {
        let mut tokens = Vec::new();
        let items = all(async |token| {
            let count = token.len();
            tokens.push(token.clone());
            Ok((vec![count], if count < 3 { format!("{token}x") } else { String::new() }))
        });
        assert_eq!(items.await.unwrap(), [0, 1, 2, 3]);
        assert_eq!(tokens, ["", "x", "xx", "xxx"]);
    }

    #[tokio::test]
    async fn a_list_without_an_end_is_an_error() {
        assert!(all(async |_| Ok((Vec::<u8>::new(), "again".to_owned()))).await.is_err());
    }

    #[tokio::test]
    async fn an_error_of_a_page_is_returned() {
        let answer =
            all(
                async |token: String| {
                    if token.is_empty() { Ok((vec![1], "next".to_owned())) } else { Err(Status::unavailable("away")) }
                },
            );
        assert_eq!(answer.await.unwrap_err().message(), "away");
    }
}
