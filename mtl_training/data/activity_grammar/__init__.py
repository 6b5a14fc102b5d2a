"""Made-up kitchen activities with known rules, as features of videos; nothing to download."""

from mtl_training.data.activity_grammar.source import activity_grammar_source, ActivityGrammar

__all__ = ['ActivityGrammar', 'activity_grammar_source']
