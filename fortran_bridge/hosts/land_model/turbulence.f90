! SPDX-License-Identifier: Apache-2.0
!> Turbulent exchange between the surface and the air at 10 m.
module turbulence
   use constants, only: gravity, von_karman, wp
   implicit none
   private
   public :: aerodynamic_conductance

   real(wp), parameter :: height = 10.0_wp
      !! Of the wind, above the displacement of the canopy [m].
   real(wp), parameter :: roughness_bare = 0.02_wp
      !! [m]
   real(wp), parameter :: roughness_per_lai = 0.08_wp
      !! [m]
   real(wp), parameter :: roughest = 0.6_wp
      !! [m]
   real(wp), parameter :: heat_to_momentum = 0.1_wp
      !! Roughness length for heat over that for momentum (Garratt 1992, section 4.3).
   real(wp), parameter :: calmest = 1.0_wp
      !! Gusts keep the exchange going in calm air [m s-1].
   real(wp), parameter :: least_exchange = 0.1_wp
      !! Part of the neutral exchange that no stratification takes away: keeps calm nights from running away.

contains

   elemental real(wp) function aerodynamic_conductance(wind, air, skin, lai) result(conductance)
      !! Conductance for heat and water vapour [m s-1].
      !!
      !! Logarithmic profile with the stability functions of Louis (1979, doi 10.1007/BF00117978).
      real(wp), intent(in) :: wind
         !! At 10 m [m s-1].
      real(wp), intent(in) :: air
         !! Air temperature [K].
      real(wp), intent(in) :: skin
         !! Temperature of the surface, of the step before [K].
      real(wp), intent(in) :: lai
         !! [1]
      real(wp), parameter :: b = 9.4_wp
      real(wp), parameter :: c = 5.3_wp
      real(wp) :: speed, roughness, neutral, richardson, stability

      speed = max(wind, calmest)
      roughness = min(roughness_bare + roughness_per_lai*lai, roughest)
      neutral = von_karman**2/(log(height/roughness)*log(height/(heat_to_momentum*roughness)))
      richardson = gravity*height*(air - skin)/(air*speed**2)
      if (richardson > 0.0_wp) then
         stability = max(least_exchange, 1.0_wp/(1.0_wp + 0.5_wp*b*richardson)**2)
      else
         stability = 1.0_wp - b*richardson/(1.0_wp + b*c*neutral*sqrt(-richardson*height/roughness))
      end if
      conductance = neutral*stability*speed
   end function aerodynamic_conductance
end module turbulence
