"""The deployment controller: from one template to the next, as its strategy says.

rollout      the state of one Deployment, as working copies that the steps change
revisions    which replica set is the new one; revisions and history
rolling, recreate, proportional    the three ways to change sizes
progress     status and conditions
decide       puts the steps in order: state in, instructions out
controller   performs the instructions
"""
