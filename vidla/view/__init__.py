"""`vidla view`: a web page over the tables of a dataset, as they are, on disk or in a bucket, while a run goes on.

    application  routes, and what they answer        access   who may read it
    tables       the tables as of the latest commit  choice   which clips a page shows: its URL as SQL
    overview, grid, clip, compare, audit             a page each, from rows to what its template shows

Pages are HTML from the server, so they work without scripts; `static/view.js` adds keys, scrubbing and playing. All
links are relative, since the first part of each path is the token.
"""
