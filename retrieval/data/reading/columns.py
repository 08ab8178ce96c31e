"""The four columns of a table of interactions, and the names that tables in use give them."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from retrieval.errors import DataError, UsageError

USER, ITEM, RATING, TIMESTAMP = "user", "item", "rating", "timestamp"
COLUMNS = (USER, ITEM, RATING, TIMESTAMP)
# The field of `ColumnNames` that names each column, as messages write it.
NAMED_BY = {column: f"`columns.{column}`" for column in COLUMNS}

# Names in public data sets, the surest first, as `plain_name` writes them.
_SPELLINGS = {
    USER: """
        user userid users uid useruid useruuid userhash
        reviewerid reviewer reviewprofilename customerid customer custid clientid client
        memberid member visitorid visitor accountid buyerid shopperid viewerid listenerid
        readerid playerid subscriberid personid profileid steamid username
        sessionid session
        """,
    ITEM: """
        item itemid items iid itemuid
        movieid movie filmid film productid product asin parentasin
        bookid book isbn isbn13 sku skuid stockcode goodsid articleid article
        trackid track songid song artistid artist albumid album videoid video
        showid animeid anime gameid game appid app recipeid beerid beerbeerid
        businessid restaurantid placeid poiid venueid locationid hotelid listingid
        newsid postid contentid documentid docid jokeid courseid podcastid jobid adid
        """,
    RATING: """
        rating ratings ratingvalue ratingscore score scores stars starrating
        overall overallrating reviewoverall reviewrating reviewscore userrating userscore
        bookrating movierating itemrating grade preference myscore label
        """,
    TIMESTAMP: """
        timestamp timestamps timestampms unixtimestamp ratingtimestamp eventtimestamp reviewtimestamp
        unixtime unixreviewtime time ts tsms eventtime ratingtime reviewtime clicktime viewtime
        datetime date createdat creationdate createdtime timecreated
        ratingdate reviewdate eventdate tdat purchasedate purchasetime orderdate ordertime
        invoicedate transactiondate dateadded playedat watchedat lastplayed lastplayedat readat dateupdated
        """,
}


@dataclass(frozen=True)
class ColumnNames:
    """The names of the four columns in the source; None: one of the usual names.

    `user` and `item` name the columns of the tables of users and items too, and `title` that of the titles.

    A given name is searched as it is first, then without regard to case and punctuation.

    Raises:
        UsageError: if two columns are given the same name.

    >>> ColumnNames(item="film").positions(["User-ID", "FILM", "stars"])
    {'user': 0, 'item': 1, 'rating': 2}
    """

    user: str | None = None
    item: str | None = None
    rating: str | None = None
    timestamp: str | None = None
    title: str | None = None

    def __post_init__(self) -> None:
        owner: dict[str, str] = {}
        for column, name in self.given().items():
            if name in owner:
                raise UsageError(
                    f"{NAMED_BY[owner[name]]} and {NAMED_BY[column]} both name {name!r}",
                    "name a column only once",
                )
            owner[name] = column

    def given(self) -> dict[str, str]:
        """The columns that were named, with their names."""
        names = {column: getattr(self, column) for column in COLUMNS}
        return {column: name for column, name in names.items() if name is not None}

    def positions(self, names: Sequence[str]) -> dict[str, int]:
        """The position of each column among `names`; a column that is missing is left out."""
        return {column: found[0] for column, found in self._candidates(names).items()}

    def require(self, names: Sequence[str], source: str) -> dict[str, int]:
        """As `positions`, but a user, an item and every named column must be there.

        Raises:
            DataError: naming the column that is missing, the columns found and the argument that names it.
        """
        found = self.positions(names)
        listed = ", ".join(names) or "none"
        for column, name in self.given().items():
            if column not in found:
                hint = _did_you_mean(name, names)
                raise DataError(f"{source}: no column {name!r} for {NAMED_BY[column]}: found {listed}{hint}")
        owner: dict[int, str] = {}
        for column, name in self.given().items():
            other = owner.setdefault(found[column], column)
            if other != column:
                both = f"{NAMED_BY[other]} {getattr(self, other)!r} and {NAMED_BY[column]} {name!r}"
                raise DataError(f"{source}: {both} mean the same column, {names[found[column]]}")
        for column in (USER, ITEM):
            if column not in found:
                raise DataError(
                    f"{source}: no {column} column: found {listed}", f"name it with {NAMED_BY[column]}"
                )
        return found

    def notes(self, names: Sequence[str]) -> tuple[str, ...]:
        """Notes on the column that was taken where several fit."""
        notes = []
        for column, found in self._candidates(names).items():
            if len(found) > 1 and column not in self.given():
                others = ", ".join(names[position] for position in found[1:])
                notes.append(
                    f"the {column} column is {names[found[0]]}; {NAMED_BY[column]} chooses another ({others})"
                )
        return tuple(notes)

    def _candidates(self, names: Sequence[str]) -> dict[str, list[int]]:
        """The positions that fit each column, the likeliest first; columns in the order of `COLUMNS`."""
        plain = [plain_name(name) for name in names]
        given = {}
        for column, name in self.given().items():
            exact = [i for i, other in enumerate(names) if other == name]
            alike = [i for i, other in enumerate(plain) if other and other == plain_name(name)]
            given[column] = exact or alike
        taken = {position for found in given.values() for position in found[:1]}
        candidates = {}
        for column in COLUMNS:
            if column in given:
                found = given[column]
            else:
                spelled = [
                    i for spelling in _SPELLINGS[column].split() for i, p in enumerate(plain) if p == spelling
                ]
                found = [position for position in spelled if position not in taken]
            if found:
                candidates[column] = found
        return candidates


def rating_note(names: Sequence[str], has_header: bool = True) -> str:
    """The note on a table without ratings."""
    if not has_header:
        return "no rating column: every row counts as a positive"
    return (
        f"no rating column among {', '.join(names)}: every row counts as a positive; "
        f"name one with {NAMED_BY[RATING]}"
    )


def plain_name(name: str) -> str:
    """The name of a column without its variations in spelling: only letters and digits, in lower case.

    >>> plain_name('"User-ID"'), plain_name(" user.id ")
    ('userid', 'userid')
    """
    return "".join(character for character in name.casefold() if character.isalnum())


def _did_you_mean(name: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else ""
