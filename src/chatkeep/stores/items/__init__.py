"""The whole contract on any database that can write one item conditionally: `tables` is what such a database offers,
`handle` how the rest is made of it.
"""
