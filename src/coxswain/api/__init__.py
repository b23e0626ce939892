"""What an API object IS: schema, names, defaults, validation, patches, wire forms.

Objects are plain dicts (``Object``) as JSON has them. Nothing here does IO, and nothing here knows who asks.
"""
