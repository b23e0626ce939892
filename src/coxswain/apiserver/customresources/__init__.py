"""Custom resources: served from CustomResourceDefinitions, while the server runs.

definition written --> Controller: names accepted? --> entries installed --> status: Established
                                                          |
                 registry (requests), catalog (discovery), published (OpenAPI)

definitions   what a definition says, read into resources and compiled schemas; its conditions (pure)
rules         defaults, strategy and validation of the objects: an Entry's ``Rules``
entries       the registry's entries of all served versions, with the conversion between them
remote        conversions that a webhook makes: asked ahead, remembered; ``reviews``: its questions and answers
published     discovery's catalog and OpenAPI documents of what is installed
controller    follows the definitions: conditions, installation, removal with all objects
"""
