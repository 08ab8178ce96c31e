import pytest

from retrieval.data.reading.columns import COLUMNS, ColumnNames, plain_name, rating_note
from retrieval.errors import DataError, UsageError

# Headers of public data sets, and where user, item, rating and timestamp stand in them.
HEADERS = {
    "userId,movieId,rating,timestamp": "0123",
    "User-ID;ISBN;Book-Rating": "012",
    "reviewerID,asin,overall,unixReviewTime,reviewTime": "0123",
    "rating,title,text,images,asin,user_id,timestamp": "5406",
    "timestamp,visitorid,event,itemid,transactionid": "13.0",
    "t_dat,customer_id,article_id,price,sales_channel_id": "12.0",
    "event_time,event_type,product_id,category_id,brand,price,user_id,user_session": "62.0",
    "review_id,user_id,business_id,stars,useful,funny,cool,text,date": "1238",
    "user_id,anime_id,rating": "012",
    "user_id,recipe_id,date,rating,review": "0132",
    "userID,artistID,weight": "01",
    "user_id,book_id,is_read,rating,is_reviewed": "013",
    "CustomerID,Rating,Date,MovieID": "0312",
    "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country": "61.4",
    "beer_beerid,review_profilename,review_overall,review_time": "1023",
    "marketplace,customer_id,review_id,product_id,star_rating,review_date": "1345",
    "Id,ProductId,UserId,ProfileName,Score,Time,Summary,Text": "2145",
    "user.id,song name,track_id,played_at": "02.3",
    '"USER"|"Item"|"Rating"|"created_at"': "0123",
    "member,sku,grade,purchase_date": "0123",
    ",userId,movieId,rating": "123",
}


@pytest.mark.parametrize(("header", "expected"), HEADERS.items())
def test_the_columns_of_public_sets_are_known(header: str, expected: str) -> None:
    separator = next(sign for sign in ",;|" if sign in header)
    names = header.split(separator)
    wanted = {c: int(at) for c, at in zip(COLUMNS, expected, strict=False) if at != "."}
    assert ColumnNames().positions(names) == wanted
    assert ColumnNames().require(names, "x") == wanted


def test_case_and_punctuation_do_not_count() -> None:
    for name in ("userid", "USER_ID", "User-Id", " user.id ", '"user id"', "user/id"):
        assert plain_name(name) == "userid"
    assert plain_name("Пользователь №1") == "пользователь1"


def test_a_given_name_is_found_as_it_is_before_anything_alike() -> None:
    names = ["Film", "film", "user"]
    assert ColumnNames(item="film").positions(names) == {"user": 2, "item": 1}
    assert ColumnNames(item="F I L M").positions(names) == {"user": 2, "item": 0}
    assert ColumnNames(user="-").positions(["", "item"]) == {"item": 1}


def test_a_given_column_is_nobody_elses() -> None:
    names = ["userId", "uid", "movieId"]
    assert ColumnNames(item="userId").positions(names) == {"user": 1, "item": 0}
    assert ColumnNames(item="userId").require(names, "x") == {"user": 1, "item": 0}
    with pytest.raises(
        DataError, match=r"x: no user column: found user, rating; name it with `columns.user`"
    ):
        ColumnNames(item="user").require(["user", "rating"], "x")


def test_one_column_cannot_be_two() -> None:
    with pytest.raises(
        UsageError, match=r"`columns\.user` and `columns\.timestamp` both name 'id'; name a column only"
    ):
        ColumnNames(user="id", timestamp="id")
    with pytest.raises(
        DataError, match=r"`columns\.user` 'ID' and `columns\.item` 'id' mean the same column, id"
    ):
        ColumnNames(user="ID", item="id").require(["id", "rating"], "x")


def test_a_missing_name_is_answered_with_the_columns_and_the_nearest() -> None:
    names = ["user", "item", "my_stars", "when"]
    with pytest.raises(DataError) as caught:
        ColumnNames(rating="mystar").require(names, "r.csv")
    assert str(caught.value) == (
        "r.csv: no column 'mystar' for `columns.rating`: found user, item, my_stars, when; "
        "did you mean my_stars?"
    )
    with pytest.raises(DataError, match=r"'zzz' for `columns.timestamp`: found user, item, my_stars, when$"):
        ColumnNames(timestamp="zzz").require(names, "r.csv")
    with pytest.raises(DataError, match=r"x: no user column: found none; name it with `columns\.user`"):
        ColumnNames().require([], "x")


def test_ratings_and_times_may_be_missing() -> None:
    assert ColumnNames().require(["user", "item"], "x") == {"user": 0, "item": 1}


def test_of_several_columns_the_surest_name_is_taken_and_said() -> None:
    names = ["isbn", "uid", "movieId", "date", "timestamp", "rating", "Rating"]
    assert ColumnNames().require(names, "x") == {"user": 1, "item": 2, "rating": 5, "timestamp": 4}
    assert ColumnNames().notes(names) == (
        "the item column is movieId; `columns.item` chooses another (isbn)",
        "the rating column is rating; `columns.rating` chooses another (Rating)",
        "the timestamp column is timestamp; `columns.timestamp` chooses another (date)",
    )
    chosen = ColumnNames(item="isbn", rating="rating", timestamp="date")
    assert chosen.notes(names) == ()


def test_what_is_said_of_a_table_without_ratings() -> None:
    assert rating_note(["user", "item"]) == (
        "no rating column among user, item: every row counts as a positive; name one with `columns.rating`"
    )
    assert "`columns.rating`" not in rating_note(["user", "item"], has_header=False)
